"""A folder of 1,000 pictures in which what is wrong is known."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

NUM_PICTURES, NUM_COPIES, NUM_PROBLEMS = 1000, 25, 60
CLIPART = Path(str(files("transferkit.data") / "clipart"))
CLASSES = tuple(sorted(folder.name for folder in CLIPART.iterdir() if folder.is_dir()))


@dataclass(frozen=True)
class Planted:
    """Args: problems: kind of finding by path. pairs: a training picture and the test picture made of it."""

    root: Path
    problems: dict[str, str]
    pairs: frozenset[frozenset[str]]


def draw_scene(number: int) -> Image.Image:
    """Shapes on a ground that runs from one colour to another; no two numbers give pictures that look alike."""
    draw = np.random.default_rng(number)
    width, height = draw.integers(90, 180, 2)
    ramp = np.linspace(0, 1, width)[None, :, None] * draw.uniform(-1, 1) + np.linspace(0, 1, height)[:, None, None]
    ground = draw.integers(0, 256, 3) + ramp * draw.integers(-200, 200, 3)
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(draw.integers(3, 8)):
        left, top = draw.uniform(-0.2, 0.8, 2) * (width, height)
        box = (left, top, left + draw.uniform(0.15, 0.7) * width, top + draw.uniform(0.15, 0.7) * height)
        colour = tuple(draw.integers(0, 256, 3).tolist())
        draw.choice([pen.ellipse, pen.rectangle, pen.line])(box, fill=colour)
    return image


def encoded(image: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif)


def with_broken_chunk(png: bytes, part: float) -> bytes:
    """The PNG with one byte of its pixel data turned over, so that a checksum fails."""
    at = int(len(png) * part)
    return png[:at] + bytes([png[at] ^ 0xFF]) + png[at + 1 :]


def problems() -> Iterator[tuple[str, str, bytes]]:
    """Kind of finding, file name and content of what is wrong."""
    scenes = (draw_scene(number) for number in range(10_000, 11_000))
    for number in range(4):
        yield "unreadable", f"empty {number}.jpg", b""
    for part in (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
        jpeg = encoded(next(scenes))
        yield "unreadable", f"cut at {part}.jpg", jpeg[: int(part * len(jpeg))]
    for part in (0.3, 0.6, 0.9):
        png = encoded(next(scenes), "PNG")
        yield "unreadable", f"cut at {part}.png", png[: int(part * len(png))]
        yield "unreadable", f"broken chunk at {part}.png", with_broken_chunk(encoded(next(scenes), "PNG"), part)
    for number in range(4):
        yield "unreadable", f"page {number}.jpg", b"<!doctype html><html><body>404 not found</body></html>"
    yield "unreadable", 'it\'s "odd"\n–ü.jpg', b"GIF89a"
    yield "unreadable", "-rf.png", np.random.default_rng(0).bytes(3000)
    yield "unreadable", "phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(3000)
    yield "unreadable", "cut.tif", encoded(next(scenes), "TIFF")[:5000]
    yield "unreadable", "169 megapixels.png", encoded(Image.new("1", (13_000, 13_000)), "PNG")
    for number in range(5):
        yield "wrong_extension", f"png {number}.jpg", encoded(next(scenes), "PNG")
    yield "wrong_extension", "print.png", encoded(next(scenes).convert("CMYK"))
    yield "extreme_aspect", "thin.png", encoded(next(scenes).resize((20, 5000)), "PNG")
    yield "extreme_aspect", "wide.jpg", encoded(next(scenes).resize((900, 60)))
    yield "tiny", "1 x 5000.png", encoded(next(scenes).resize((1, 5000)), "PNG")
    for side in (1, 4, 12):
        yield "tiny", f"{side} x {side}.png", encoded(next(scenes).resize((side, side)), "PNG")
    for colour in ("black", "white", "orange"):
        yield "constant", f"{colour}.jpg", encoded(Image.new("RGB", (100, 80), colour))
    for orientation in range(2, 9):
        yield "turned", f"turned {orientation}.jpg", with_orientation(next(scenes), orientation)
    for file_format in ("GIF", "WEBP"):
        frames = [next(scenes).resize((80, 80)) for _ in range(3)]
        name = f"moves.{file_format.lower()}"
        yield "animated", name, encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    yield "transparent", "palette.png", encoded(next(scenes).quantize(16), "PNG", transparency=3)
    yield "transparent", "shadow.png", encoded(next(scenes).convert("RGBA"), "PNG")
    yield "greyscale", "1 bit.png", encoded(next(scenes).convert("1"), "PNG")
    deep = np.asarray(next(scenes).convert("L"), np.uint16) * 257
    yield "greyscale", "16 bit.png", encoded(Image.fromarray(deep), "PNG")


COPIES: tuple[Callable[[Image.Image], bytes], ...] = (
    lambda image: encoded(image, quality=50),
    lambda image: encoded(image.resize((image.width * 3 // 5, image.height * 3 // 5))),
    lambda image: encoded(image.resize((image.width * 3 // 2, image.height * 3 // 2)), "PNG"),
    lambda image: encoded(image.crop((3, 4, image.width - 5, image.height - 2))),
    lambda image: encoded(image.crop((0, 0, image.width * 96 // 100, image.height * 97 // 100)), "PNG"),
)


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Planted:
    """Clip art and drawn scenes in `train`, `validation` and `test`, with 60 problems and 25 near copies."""
    root = tmp_path_factory.mktemp("planted")
    for split in ("train", "validation", "test"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
    found: dict[str, str] = {}
    for number, (kind, name, content) in enumerate(problems()):
        path = f"{('train', 'train', 'validation', 'test')[number % 4]}/{CLASSES[number % len(CLASSES)]}/{name}"
        (root / path).write_bytes(content)
        found[path] = kind
    loop = f"train/{CLASSES[0]}/loop.jpg"
    os.symlink("loop.jpg", root / loop)
    found[loop] = "unreadable"
    sound: list[str] = []
    for number, picture in enumerate(sorted(CLIPART.glob("*/*.*"))):
        split = ("train", "train", "train", "validation", "test")[number % 5]
        sound.append(f"{split}/{picture.parent.name}/{picture.name}")
        shutil.copyfile(picture, root / sound[-1])
    for number in range(NUM_PICTURES - len(found) - NUM_COPIES - len(sound)):
        split = ("train", "train", "train", "validation", "test")[number % 5]
        sound.append(f"{split}/{CLASSES[number % len(CLASSES)]}/scene {number}.jpg")
        draw_scene(number).save(root / sound[-1], quality=90)
    training = [path for path in sound if path.startswith("train/")]
    pairs = set()
    for number, path in enumerate(training[:: len(training) // NUM_COPIES][:NUM_COPIES]):
        with Image.open(root / path) as image:
            white = Image.new("RGBA", image.size, "white")
            content = COPIES[number % len(COPIES)](Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
        copy = Path("test", Path(path).parent.name, f"copy {number}.{'png' if content[1:4] == b'PNG' else 'jpg'}")
        (root / copy).write_bytes(content)
        pairs.add(frozenset((path, copy.as_posix())))
    assert len(found) == NUM_PROBLEMS
    assert len(pairs) == NUM_COPIES
    return Planted(root, found, frozenset(pairs))
