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
def listener():
    """Makes a progress that keeps the lines it is told."""
    from transferkit.progress import Quiet

    class Listener(Quiet):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    return Listener


@pytest.fixture(scope="session")
def finished_and_told(tmp_path_factory, session_folder_maker, small_settings, listener):
    """A run over 3 classes of 12 pictures, with a cache of its own: (folder of pictures, run result, lines)."""
    from transferkit import FineTuner

    root = tmp_path_factory.mktemp("finished")
    folder = session_folder_maker(root / "photos", classes=3, each=12)
    (folder / "class_0" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    tuner = FineTuner(name="small", cache={"folder": str(root / "cache")}, **small_settings(folder))
    progress = listener()
    return folder, tuner.run(root / "run", progress=progress), progress.lines


@pytest.fixture(scope="session")
def finished(finished_and_told):
    """The same: (folder of pictures, run result)."""
    return finished_and_told[:2]


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
