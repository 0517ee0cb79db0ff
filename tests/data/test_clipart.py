"""The picture set that ships with the package: sizes, formats, sources."""

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

CLIPART_DIR = Path(__file__).resolve().parents[2] / "transferkit/data/clipart"
PICTURES = sorted(CLIPART_DIR.glob("*/*"))
COUNTS = Counter(path.parent.name for path in PICTURES)


@pytest.fixture(scope="module")
def decoded():
    """Path -> RGB picture."""
    pictures = {}
    for path in PICTURES:
        with Image.open(path) as opened:
            pictures[path] = opened.convert("RGB")
    return pictures


@pytest.fixture(scope="module")
def sources():
    """Rows of the table of sources."""
    with (CLIPART_DIR / "sources.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_set_has_ten_classes_of_at_least_25_pictures():
    assert len(COUNTS) == 10
    assert min(COUNTS.values()) >= 25


def test_set_has_450_to_600_pictures():
    assert 450 <= len(PICTURES) <= 600


def test_set_is_smaller_than_6_megabytes():
    num_bytes = sum(path.stat().st_size for path in CLIPART_DIR.rglob("*") if path.is_file())

    assert num_bytes < 6_000_000


def test_file_names_are_lowercase_ascii_and_unique():
    names = [path.name for path in PICTURES]

    assert all(re.fullmatch(r"[a-z0-9_]+\.png", name) for name in names)
    assert len(set(names)) == len(names)


def test_every_picture_opens_with_longest_side_of_96_to_192_px(decoded):
    outside = {path.name: picture.size for path, picture in decoded.items() if not 96 <= max(picture.size) <= 192}

    assert not outside


def test_no_picture_is_of_one_colour(decoded):
    flat = [path.name for path, picture in decoded.items() if all(low == high for low, high in picture.getextrema())]

    assert not flat


def test_no_two_files_share_the_same_pixels(decoded):
    digests = Counter(
        hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest() for picture in decoded.values()
    )

    assert max(digests.values()) == 1


def test_sources_name_every_file_exactly_once(sources):
    named = sorted(row["file"] for row in sources)

    assert named == sorted(path.relative_to(CLIPART_DIR).as_posix() for path in PICTURES)


def test_sources_give_the_folder_as_class_and_no_source_twice(sources):
    assert all(row["class"] == Path(row["file"]).parent.name for row in sources)
    assert len({row["source"] for row in sources}) == len(sources)


def test_readme_counts_match_the_folders():
    table = re.findall(r"^\| (\w+) \| (\d+) \|", (CLIPART_DIR / "README.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert {name: int(count) for name, count in table} == COUNTS


def test_licence_names_package_and_public_domain():
    text = (CLIPART_DIR / "LICENSE").read_text(encoding="utf-8")

    assert "openclipart-png" in text
    assert "Public Domain" in text
