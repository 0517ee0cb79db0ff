"""The smallest true things that tests share."""

import os

# Before TensorFlow is imported anywhere: its C++ side prints lines that hide a test's own output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def draw_picture(label: int, number: int, size_px: int = 40) -> Image.Image:
    """A picture whose class shows in its colour and stripes; `number` makes it unlike all others."""
    draw = np.random.default_rng([label, number])
    pixels = draw.integers(0, 60, (size_px, size_px, 3))
    pixels[..., label % 3] += 120
    if label % 2:
        pixels[:: 2 + label // 3] //= 3
    return Image.fromarray(pixels.astype(np.uint8))


def make_folder(root: Path, *, classes: int = 3, each: int = 8, size_px: int = 40) -> Path:
    """`root/class_<n>/<m>.png`."""
    for label in range(classes):
        folder = root / f"class_{label}"
        folder.mkdir(parents=True)
        for number in range(each):
            draw_picture(label, number, size_px).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session", autouse=True)
def features_home(tmp_path_factory) -> Iterator[Path]:
    """Features of the tests' pictures stay out of the home of whoever runs them; subprocesses see it too."""
    home = tmp_path_factory.mktemp("transferkit-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """3 classes of 8 drawn pictures, 40 px."""
    return make_folder(tmp_path / "photos")


@pytest.fixture
def folder_maker():
    """`make_folder`, for other sizes."""
    return make_folder


@pytest.fixture(scope="session")
def session_folder_maker():
    """`make_folder`, for fixtures that outlive a test."""
    return make_folder
