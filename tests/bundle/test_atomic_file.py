"""A file of the run folder is complete or not there."""

import resource

import pytest

from transferkit.bundle.run_folder import atomic_file, write_json, write_model
from transferkit.errors import RunFolderError


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "results.json"

    with atomic_file(path) as file:
        file.write("{}")
        assert not path.exists()

    assert path.read_text() == "{}"


def test_an_error_while_writing_keeps_the_older_file_and_no_other(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("older")

    with pytest.raises(TypeError):
        write_json(path, {"not json": object()})

    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_clear_error(tmp_path):
    path = tmp_path / "predictions.csv"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    try:
        with pytest.raises(RunFolderError, match="predictions.csv cannot be written: "), atomic_file(path) as file:
            file.write("x" * 10_001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_written_is_a_clear_error_and_leaves_nothing(tmp_path):
    class Model:
        def save(self, path):
            path.write_bytes(b"half a model")
            raise OSError(28, "No space left on device")

    with pytest.raises(RunFolderError, match="model.keras cannot be written: No space left on device"):
        write_model(tmp_path, Model())

    assert list(tmp_path.iterdir()) == []
