"""How often a checkpoint is written, as a recipe says it and as the code reads it."""

import pytest

from transferkit.recipe.runtime import CheckpointSpec


@pytest.mark.parametrize(
    ("every", "span"),
    [
        ("45s", (45, "seconds")),
        ("90 s", (90, "seconds")),
        ("10min", (600, "seconds")),
        ("2 h", (7200, "seconds")),
        ("1 step", (1, "steps")),
        ("200 steps", (200, "steps")),
        ("1 epoch", (1, "epochs")),
        ("3epochs", (3, "epochs")),
        (" 007  epochs ", (7, "epochs")),
        ("999999999 steps", (999_999_999, "steps")),
    ],
)
def test_span_is_how_many_of_what(every, span):
    assert CheckpointSpec(every=every).span == span


def test_span_by_default_is_an_epoch():
    assert CheckpointSpec().span == (1, "epochs")


@pytest.mark.parametrize("every", ["10min", "10 min", " 10  min"])
def test_every_is_written_out_in_one_way(every):
    assert CheckpointSpec(every=every).every == "10 min"


@pytest.mark.parametrize(
    "every",
    [
        "", "1", "epoch", "0 epochs", "-1 epochs", "1.5 h", "1e3 steps", "10 minutes", "10 MIN", "1 h 30 min", "1:30",
        "1 epoch\n\n2", "٣ steps", "9" * 5000 + " steps", 10, 1.0, True, None, ["1 epoch"], {"epochs": 1},
    ],
    ids=lambda every: repr(every)[:20],
)  # fmt: skip
def test_every_refuses_what_is_no_span(every):
    with pytest.raises(ValueError, match="must be a whole number of s, min, h, steps or epochs"):
        CheckpointSpec(every=every)
