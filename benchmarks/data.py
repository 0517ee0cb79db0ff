"""Pictures from files to batches, against `keras.utils.image_dataset_from_directory`; and memory by their number.

    python benchmarks/data.py [--large 48] [--small 1000] [--rounds 3] [--memory 1000 50000]

Photos are drawn: soft colours and noise, JPEG of quality 90. The two sides take turns on the same files, which the
system has in memory. Batches of 32 at 224 px, in shuffled order. Our first epoch prepares the pictures into an empty
store and reads them from there; our second one finds them there; Keras' first one lists its files too. "The decoder
alone" is Pillow reading the files at the scale that we ask it for: preparing cannot take less than that. CPU time is
that of all threads, and tells more than pictures per second where other programs run as well. Memory is the most of
the process's own while pictures of 96 px are prepared and then read, beside a ResNet50 as in a run; each number in a
process of its own, and all read equally many pictures, the fewer ones in more epochs, so that buffers are as full.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIZE_PX, MEMORY_SIZE_PX, BATCH_SIZE, NUM_CLASSES = 224, 96, 32, 2
SIZES = {"12 megapixels": (4000, 3000), "500 x 375": (500, 375)}
NOISE_LEVELS = 6  # makes 3.6 MB of 12 megapixels, as telephones do


def draw_photo(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
    """`(height, width, 3)` uint8: soft colours, and noise in the brightness."""
    coarse = draw.integers(0, 256, (max(2, height // 100), max(2, width // 100), 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noise = draw.standard_normal((height, width, 1), np.float32) * NOISE_LEVELS
    return (soft + noise).clip(0, 255).astype(np.uint8)


def write_photos(folder: Path, number: int, size: tuple[int, int]) -> float:
    """Photos in class folders, and the mean size of their files in MB. A few are drawn, the others are shifted."""
    draw = np.random.default_rng(0)
    drawn = [draw_photo(draw, *size) for _ in range(4)]
    for index in range(number):
        file = folder / f"class {index % NUM_CLASSES}" / f"{index}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photo = np.roll(drawn[index % 4], (index // 4 % size[1], index // 4 // size[1]), (0, 1))
        Image.fromarray(photo).save(file, quality=90)
    return sum(file.stat().st_size for file in folder.rglob("*.jpg")) / number / 1e6


def our_epochs(photos: Path, home: Path, size_px: int) -> Callable[[int], Iterable[np.ndarray]]:
    """From the number of an epoch to its batches."""
    from transferkit.data.folder_source import list_folder
    from transferkit.data.prepare import prepare_pictures
    from transferkit.progress import Quiet
    from transferkit.recipe.data import DataSpec
    from transferkit.recipe.runtime import CacheSpec
    from transferkit.recipe.source import FolderSource
    from transferkit.train.batches import epoch_order, training_batches
    from transferkit.train.placement import local_strategy

    spec = DataSpec(source=FolderSource(path=str(photos)), image_size=size_px, cache="disk")
    strategy = local_strategy()

    def epoch(number: int) -> Iterable[np.ndarray]:
        cache = CacheSpec(folder=str(home))
        prepared = prepare_pictures(list_folder(photos), spec, cache=cache, progress=Quiet())
        order = epoch_order(len(prepared.images), seed=0, epoch=number)
        labels = np.array([prepared.pictures[row].label for row in order], np.int32)
        for batch, _, _ in training_batches(prepared.images, order, labels, batch_size=BATCH_SIZE, strategy=strategy):
            yield batch

    return epoch


def keras_epochs(photos: Path) -> Callable[[int], Iterable[Any]]:
    """From the number of an epoch to its batches."""
    import keras

    made: list[Any] = []

    def epoch(number: int) -> Iterable[Any]:
        if not made:
            size = (SIZE_PX, SIZE_PX)
            made.append(
                keras.utils.image_dataset_from_directory(
                    photos, image_size=size, batch_size=BATCH_SIZE, seed=0, verbose=False
                )
            )
        for batch, _ in made[0]:
            yield batch

    return epoch


def decoder_cpu_ms(photos: Path) -> float:
    """Of CPU time per picture, for Pillow's decoder and nothing else."""
    files = sorted(photos.rglob("*.jpg"))
    start_s = time.process_time()
    for file in files:
        with Image.open(file) as image:
            image.draft(None, (SIZE_PX * 3 // 2, SIZE_PX * 3 // 2))
            image.load()
    return 1000 * (time.process_time() - start_s) / len(files)


def timed(batches: Iterable[Any]) -> tuple[float, float]:
    """Pictures per second, and milliseconds of CPU per picture."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    number = sum(len(batch) for batch in batches)
    return number / (time.perf_counter() - start_s), 1000 * (time.process_time() - start_cpu_s) / number


def compare(photos: Path, rounds: int) -> list[dict[str, object]]:
    """One row for each epoch: medians of both sides, and of their ratios round by round."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home:
            sides = {"keras": keras_epochs(photos), "ours": our_epochs(photos, Path(home), SIZE_PX)}
            for epoch in range(2):
                for side, epochs in sides.items():
                    found.setdefault((epoch, side), []).append(timed(epochs(epoch)))
    rows = []
    for epoch, name in enumerate(("first", "second")):
        ours, theirs = found[epoch, "ours"], found[epoch, "keras"]
        pairs = list(zip(ours, theirs, strict=True))
        rows.append(
            {
                "epoch": name,
                "pictures per second": round(median(one[0] for one in ours), 1),
                "of Keras": round(median(one[0] for one in theirs), 1),
                "ratio": round(median(own[0] / other[0] for own, other in pairs), 2),
                "CPU ms per picture": round(median(one[1] for one in ours), 2),
                "CPU ms of Keras": round(median(one[1] for one in theirs), 2),
                "ratio of CPU": round(median(other[1] / own[1] for own, other in pairs), 2),
            }
        )
    return rows


def memory_of(photos: Path, num_read: int) -> None:
    """Prepare and read the pictures in this process, with what a run has loaded."""
    import keras
    from common import PrivateMemory

    network = keras.applications.ResNet50(weights=None)
    memory = PrivateMemory()
    with tempfile.TemporaryDirectory() as home:
        epoch, numbers = our_epochs(photos, Path(home), MEMORY_SIZE_PX), []
        while sum(numbers) < num_read:
            numbers.append(sum(len(batch) for batch in epoch(len(numbers))))
    memory.grown_mb()
    assert network.built
    print(json.dumps({"pictures": numbers[0], "epochs": len(numbers), "memory_mb": round(memory.peak_mb)}))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=int, default=48, help="photos of 12 megapixels")
    parser.add_argument("--small", type=int, default=1000, help="photos of 500 x 375")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 50_000])
    parser.add_argument("--memory-of", type=Path, help="one folder, in this process")
    parser.add_argument("--memory-read", type=int, default=0, help="how many pictures it reads at least")
    given = parser.parse_args(arguments)
    if given.memory_of:
        memory_of(given.memory_of, given.memory_read)
        return
    from common import write_results

    figures: dict[str, object] = {"picture size": f"{SIZE_PX} px", "batches": BATCH_SIZE, "rounds": given.rounds}
    for (name, size), number in zip(SIZES.items(), (given.large, given.small), strict=True):
        with tempfile.TemporaryDirectory() as folder:
            mean_mb = write_photos(Path(folder), number, size)
            title = f"{name}, {number} photos of {mean_mb:.2f} MB"
            figures[title] = compare(Path(folder), given.rounds)
            figures[f"{title}, CPU ms of the decoder alone"] = round(decoder_cpu_ms(Path(folder)), 2)
        print(json.dumps(figures, indent=1), flush=True)
    rows = []
    for number in given.memory:
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder), number, (100, 100))
            num_read = str(2 * max(given.memory))
            command = [sys.executable, __file__, "--memory-of", folder, "--memory-read", num_read]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    figures["memory"] = rows
    write_results("data", " ".join(["python benchmarks/data.py", *arguments]), figures)


if __name__ == "__main__":
    main(sys.argv[1:])
