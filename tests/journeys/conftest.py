"""One finished run that several journeys look at."""

import subprocess
import sys
from pathlib import Path

import pytest

SMALL = {
    "data": {"image_size": 32, "batch_size": 8, "split": {"validation": 0.25, "test": 0.25}, "resize": "stretch"},
    "augment": [{"flip": "horizontal"}, {"rotate": {"degrees": 10}}],
    "phases": [
        {"name": "warm-up", "train": "head", "epochs": 3, "learning_rate": 1e-2, "augment": False},
        {"name": "fine-tune", "train": {"last_stages": 1}, "epochs": 2, "learning_rate": 1e-4},
    ],
}


@pytest.fixture(scope="session")
def small_settings():
    """Sections of a recipe that runs in seconds, real ImageNet weights included."""

    def settings(folder: Path, **data) -> dict:
        return {**SMALL, "data": {"source": {"folder": str(folder)}, **SMALL["data"], **data}}

    return settings


@pytest.fixture(scope="session")
def finished(tmp_path_factory, session_folder_maker, small_settings):
    """A run over 3 classes of 12 pictures: (folder of pictures, run result)."""
    from transferkit import FineTuner
    from transferkit.progress import Quiet

    root = tmp_path_factory.mktemp("finished")
    folder = session_folder_maker(root / "photos", classes=3, each=12)
    (folder / "class_0" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    tuner = FineTuner(name="small", **small_settings(folder))
    return folder, tuner.run(root / "run", progress=Quiet())


@pytest.fixture(scope="session")
def command():
    """Runs the command line as a user does, in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "transferkit", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )

    return run
