"""How long the examination of many small pictures takes, and how much memory: 50,000 of 28 px.

    python benchmarks/doctor.py [--images 5000 50000]

Pictures of Fashion-MNIST as PNG files where Debian's package dataset-fashion-mnist is installed, otherwise noise with
shapes. Each size in a process of its own, without the part that needs a backbone; memory is the most private memory
that the process held above what it held before.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

FASHION = Path("/usr/share/datasets/fashion-mnist")


def read_fashion(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """`(num_images, 28, 28)` uint8 and their labels."""
    found = {path.name.removesuffix(".gz"): path for path in FASHION.rglob("train-*")}
    images, labels = (
        np.frombuffer((gzip.open if path.suffix == ".gz" else open)(path, "rb").read(), np.uint8)[skip:]
        for path, skip in ((found["train-images-idx3-ubyte"], 16), (found["train-labels-idx1-ubyte"], 8))
    )
    return images.reshape(-1, 28, 28)[:num_images], labels[:num_images]


def draw(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """`(num_images, 32, 32, 3)` uint8 and their labels."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (num_images, 8, 8, 3), np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2), generator.integers(0, 10, num_images)


def measure(num_images: int) -> dict[str, object]:
    from common import PrivateMemory

    from transferkit.check import check_draft
    from transferkit.doctor.examine import examine
    from transferkit.doctor.page import render_page
    from transferkit.progress import Quiet
    from transferkit.recipe.draft import draft_values

    with tempfile.TemporaryDirectory() as folder:
        images, labels = read_fashion(num_images) if FASHION.exists() else draw(num_images)
        for label in np.unique(labels):
            Path(folder, f"class_{label}").mkdir()
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(pixels).save(Path(folder, f"class_{label}", f"{number}.png"), compress_level=1)
        recipe = check_draft(draft_values({"data": {"source": {"folder": folder}}}, source="benchmark"))
        memory, start_s, start_cpu_s = PrivateMemory(), time.perf_counter(), time.process_time()
        examination = examine(recipe, quick=True, progress=Quiet())
        seconds, cpu_seconds = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        page = render_page(examination, json_path="doctor.json")
        return {
            "images": len(images),
            "seconds": round(seconds, 1),
            "cpu seconds": round(cpu_seconds, 1),
            "seconds with page": round(time.perf_counter() - start_s, 1),
            "memory_mb": round(memory.grown_mb()),
            "page_mb": round(len(page) / 1e6, 2),
            "findings": {finding.kind: finding.num for finding in examination.findings},
        }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50_000])
    parser.add_argument("--one", type=int, help="one size, in this process")
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one)))
        return
    from common import write_results

    rows = []
    for num_images in given.images:
        command = [sys.executable, __file__, "--one", str(num_images)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    write_results("doctor", " ".join(["python benchmarks/doctor.py", *arguments]), {"sizes": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
