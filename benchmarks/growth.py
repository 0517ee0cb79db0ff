"""More pictures take more time in proportion, and no more memory: 1,000, 4,000 and 16,000 of them.

    python benchmarks/growth.py [--images 1000 4000 16000]

EfficientNet-Lite0 at 64 px, pictures in a file that is mapped, features computed and stored, then three epochs of the
head. Each size in a process of its own; memory is the most that the process held above what it held before training.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZE_PX, EPOCHS = 64, 3
PHASES = [{"name": "warm-up", "train": "head", "epochs": EPOCHS, "learning_rate": 1e-3}]


def measure(num_images: int) -> dict[str, float]:
    from common import NUM_CLASSES, Hook, PrivateMemory, draw_pictures, make_data, make_recipe, train_ours

    with tempfile.TemporaryDirectory() as folder:
        images = np.lib.format.open_memmap(
            Path(folder) / "pictures.npy", "w+", np.uint8, (num_images, SIZE_PX, SIZE_PX, 3)
        )
        labels = np.empty(num_images, np.int32)
        for start in range(0, num_images, 500):
            images[start : start + 500], labels[start : start + 500] = draw_pictures(500, SIZE_PX, seed=start)
        images.flush()
        data = make_data(images, labels, num_train=num_images * 9 // 10)
        assert int(labels.max()) < NUM_CLASSES
        memory, hook = PrivateMemory(), Hook()
        seconds, _ = train_ours(data, make_recipe("efficientnet_lite0", SIZE_PX, PHASES), hook=hook)
        return {"images": num_images, "seconds": round(seconds, 1), "memory_mb": round(memory.grown_mb())}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 16000])
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
        rows[-1]["ms per picture"] = round(1000 * rows[-1]["seconds"] / num_images, 2)
        print(rows[-1], flush=True)
    write_results("growth", " ".join(["python benchmarks/growth.py", *arguments]), {"sizes": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
