"""Settings of splits that cannot go together."""

import pytest

from transferkit.check import check_draft
from transferkit.errors import RecipeError
from transferkit.recipe.draft import draft_values


def check(**data):
    return check_draft(
        draft_values({"data": {"source": "sample", **data}, "model": {"weights": "none"}}, source="test")
    )


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"split": {"manifest": "splits.csv", "fold": "1/5"}}, "data.split.fold: '1/5' would change nothing"),
        ({"split": {"manifest": "splits.csv", "group": "a"}}, "data.split.group: 'a' would change nothing"),
        ({"split": {"manifest": "splits.csv", "method": "hash"}}, "data.split.method: 'hash' would change nothing"),
        ({"split": {"manifest": "splits.csv"}, "duplicates": "group"}, "data.duplicates: 'group' would change nothing"),
        ({"split": {"method": "hash", "fold": "1/5"}}, "data.split.fold: '1/5' divides into equal parts"),
        ({"split": {"method": "hash"}, "duplicates": "group"}, "data.duplicates: 'group' cannot go with"),
        ({"split": {"fold": "1/2", "validation": 0.5}}, "leave nothing to train on"),
        ({"split": {"validation": 0.5, "test": 0.5}}, "leave nothing to train on"),
    ],
)
def test_splits_that_are_decided_twice_are_refused(data, found):
    with pytest.raises(RecipeError) as caught:
        check(**data)

    assert len(caught.value.problems) == 1
    assert found in str(caught.value)


@pytest.mark.parametrize(
    "split",
    [
        {"fold": "1/5", "test": 0.0},
        {"fold": "1/3", "test": 0.9, "validation": 0.1},
        {"manifest": "splits.csv", "test": 0.0},
        {"manifest": "splits.csv", "test": 0.9},
        {"method": "hash", "group": "a"},
        {"fold": "2/5", "group": "a"},
    ],
)
def test_shares_that_something_else_decides_are_not_judged(split):
    assert check(split=split).data.split.manifest == split.get("manifest")
