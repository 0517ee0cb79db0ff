"""Make the picture set that transferkit ships from the package `openclipart-png` of Debian.

    python tools/make_clipart.py --package /usr/share/openclipart/png

Which picture is in which class, and why others are left out, stands in `clipart_classes.yaml` beside this file: chosen
by folder and by looking, before anything was trained on them. What is left is rules, and they stand here. A picture
that breaks a rule stops the script, so that every exclusion is written down.
"""

import argparse
import contextlib
import csv
import hashlib
import html
import itertools
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parent.parent
CLASSES_FILE = REPOSITORY / "tools/clipart_classes.yaml"
OUTPUT_DIR = REPOSITORY / "transferkit/data/clipart"

LONGEST_SIDE_PX = 192
SHORTEST_LONG_SIDE_PX = 96  # smaller drawings would have to be blown up
MARGIN_PX = 4
WHITE = 250  # a channel at or above this counts as background
MIN_ASPECT = 0.25  # short side over long side
MIN_INK_FRACTION = 0.02  # share of pixels that are not background
MIN_CONTRAST = 10.0  # standard deviation of the grey values, 0-255
HASH_SIZE = 16
NEAREST_BITS = 28  # of 256; pictures as close as this count as one drawing


class RuleBroken(Exception):
    """A chosen picture that the rules do not allow."""


def chosen_paths(spec: Mapping, package_dir: Path) -> list[str]:
    """Paths inside the package that one class of the data file asks for, sorted; identical copies may be among them."""
    in_folders = {
        path.relative_to(package_dir).as_posix()
        for folder in spec["folders"]
        for path in (package_dir / folder).glob("*.png")
    }
    also = set(spec.get("also", ()))
    variants = spec.get("variants", {})
    without = {path for paths in spec["left_out"].values() for path in paths} | set(variants)
    chosen = (in_folders | also) - without
    if stale := sorted(without - in_folders) + sorted(also & in_folders):
        raise RuleBroken(f"needless in the data file: {stale}")
    if missing := sorted(set(variants.values()) - chosen):
        raise RuleBroken(f"named as the version that is taken, but not chosen: {missing}")
    return sorted(chosen)


def take_at_most(paths: list[str], limit: int) -> list[str]:
    """At most `limit` of `paths`, picked by the hash of the path so that nobody's taste decides; still sorted."""
    return sorted(sorted(paths, key=lambda path: hashlib.sha256(path.encode()).hexdigest())[:limit])


def prepare(path: Path) -> Image.Image:
    """One drawing on white as RGB: blank margins cut off, reduced to `LONGEST_SIDE_PX`, never enlarged.

    Raises:
        RuleBroken: the drawing is too small, too thin or (nearly) blank.
    """
    with Image.open(path) as opened:
        drawing = opened.convert("RGBA")
    canvas = Image.new("RGBA", drawing.size, "white")
    canvas.alpha_composite(drawing)
    picture = canvas.convert("RGB")

    ink_box = ImageChops.invert(picture).point(lambda value: 255 if value > 255 - WHITE else 0).getbbox()
    if ink_box is None:
        raise RuleBroken("blank")
    picture = picture.crop(ink_box)
    if min(picture.size) / max(picture.size) < MIN_ASPECT:
        raise RuleBroken(f"too thin: {picture.size}")
    inner_px = LONGEST_SIDE_PX - 2 * MARGIN_PX
    picture.thumbnail((inner_px, inner_px), Image.Resampling.LANCZOS)
    picture = ImageOps.expand(picture, MARGIN_PX, "white")
    if max(picture.size) < SHORTEST_LONG_SIDE_PX:
        raise RuleBroken(f"too small: {picture.size}")

    pixels = np.asarray(picture)
    if (pixels.min(axis=2) < WHITE).mean() < MIN_INK_FRACTION or pixels.mean(axis=2).std() < MIN_CONTRAST:
        raise RuleBroken("nearly blank")
    return picture


def difference_hash(picture: Image.Image) -> np.ndarray:
    """`(256,)` bits: is each cell of a 16 x 16 grid brighter than its left neighbour; blind to colour and size."""
    grey = picture.convert("L").resize((HASH_SIZE + 1, HASH_SIZE), Image.Resampling.BOX)
    cells = np.asarray(grey, dtype=np.int16)
    return (cells[:, 1:] - cells[:, :-1] > 2).ravel()


def nearest_pairs(pictures: Mapping[str, Image.Image]) -> Iterator[tuple[int, str, str]]:
    """Pairs of `pictures`, upright or mirrored, whose hashes differ in at most `NEAREST_BITS` bits."""
    upright = {path: difference_hash(picture) for path, picture in pictures.items()}
    mirrored = {path: difference_hash(ImageOps.mirror(picture)) for path, picture in pictures.items()}
    for first, second in itertools.combinations(sorted(pictures), 2):
        bits = min(np.count_nonzero(upright[first] != other[second]) for other in (upright, mirrored))
        if bits <= NEAREST_BITS:
            yield int(bits), first, second


def author_of(path: Path) -> str:
    """Author as the picture's own text says, without mail addresses; empty where it does not say."""
    with Image.open(path) as opened:
        text = html.unescape(str(opened.info.get("Author", "")))
    with contextlib.suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")  # PNG text counts as Latin-1, the writer put UTF-8
    text = re.sub(r"mailto:|\s*[\[<(]\S+@\S+[\]>)]|\s+-\s+\S+@\S+|@\S+", "", text).strip()
    return "" if text.startswith("HASH(") or text.lower() in {"none", "unknown", "anonymous", "author"} else text


def prepare_all(package_dir: Path, classes: Mapping[str, Mapping]) -> dict[str, dict[str, Image.Image]]:
    """Class name -> path inside the package -> picture; of identical pictures the first by path is kept."""
    problems: list[str] = []
    seen: set[bytes] = set()
    prepared: dict[str, dict[str, Image.Image]] = {}
    for name, spec in classes.items():
        paths = chosen_paths(spec, package_dir)
        unique: dict[str, Image.Image] = {}
        for path in paths:
            try:
                picture = prepare(package_dir / path)
            except RuleBroken as broken:
                problems.append(f"{path}: {broken}")
                continue
            digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
            if digest not in seen:
                seen.add(digest)
                unique[path] = picture
        prepared[name] = {path: unique[path] for path in take_at_most(list(unique), spec.get("at_most", len(unique)))}
    if problems:
        raise RuleBroken("\n".join(problems))
    return prepared


def write_set(prepared: Mapping[str, Mapping[str, Image.Image]], package_dir: Path, output_dir: Path) -> None:
    """One folder of PNG files per class, and `sources.csv`; folders from an earlier call are replaced."""
    for old in output_dir.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    with (output_dir / "sources.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("class", "file", "source", "author"))
        for name, pictures in prepared.items():
            (output_dir / name).mkdir()
            for number, (path, picture) in enumerate(pictures.items(), start=1):
                file = f"{name}/{name}_{number:02d}.png"
                # 256 colours of its own are enough for a drawing; dithering would put noise on flat areas
                small = picture.quantize(256, kmeans=3, dither=Image.Dither.NONE)
                small.save(output_dir / file, optimize=True)
                rows.writerow((name, file, path, author_of(package_dir / path)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--package", type=Path, default=Path("/usr/share/openclipart/png"), help="folder of the package"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT_DIR, help="folder to fill")
    arguments = parser.parse_args()

    classes = YAML(typ="safe").load(CLASSES_FILE)["classes"]
    try:
        prepared = prepare_all(arguments.package, classes)
        everything = {path: picture for pictures in prepared.values() for path, picture in pictures.items()}
        if near := sorted(nearest_pairs(everything)):
            raise RuleBroken("near duplicates:\n" + "\n".join(f"{bits:3d} bits  {a}  {b}" for bits, a, b in near))
    except RuleBroken as broken:
        sys.exit(str(broken))
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_set(prepared, arguments.package, arguments.output)
    for name, pictures in prepared.items():
        print(f"{name:20} {len(pictures):4d}")


if __name__ == "__main__":
    main()
