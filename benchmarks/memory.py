"""The most memory that training takes, against the plain Keras loop: what is frozen keeps no activations.

    python benchmarks/memory.py [--batch-size 16] [--size 224]

ResNet50, two epochs of three batches each, every case in a process of its own; memory above what the process held
before. On a CPU it is the process's own memory, which the allocator gives back late: compare, do not add.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

LAST = {"train": {"last_stages": 1}}
PARTS = {"runtime": {"gradient_accumulation_steps": 4}}
CASES = {
    "last stage, plain Keras": (LAST, {}),
    "last stage, augmented pictures": (LAST, {"augment": ["flip"]}),
    "last stage, stored features": (LAST, {}),
    "everything, plain Keras": ({"train": "all"}, {}),
    "everything": ({"train": "all"}, {}),
    "everything, in 4 parts": ({"train": "all"}, PARTS),
}


def measure(case: str, batch_size: int, size_px: int) -> float:
    from common import PrivateMemory, draw_pictures, make_data, make_recipe, train_ours

    phase, sections = CASES[case]
    num_train = 3 * batch_size
    images, labels = draw_pictures(num_train + 1, size_px)
    data = make_data(images, labels, num_train=num_train)
    if case.endswith("plain Keras"):
        from against_keras import LAST_STAGE_BEGINS, PlainKeras

        plain = PlainKeras(images, labels, num_train=num_train, size_px=size_px)
        plain.freeze(LAST_STAGE_BEGINS if phase is LAST else "conv1_conv", 1e-5)
        memory = PrivateMemory()
        for _ in range(2):
            plain.epoch()
        return memory.grown_mb()
    phase = {"name": "phase", "epochs": 2, "learning_rate": 1e-5, **phase}
    recipe = make_recipe("resnet50", size_px, [phase], **sections)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"batch_size": batch_size})})
    memory = PrivateMemory()
    train_ours(data, recipe)
    return memory.grown_mb()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--one", choices=CASES, help="one case, in this process")
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one, given.batch_size, given.size)))
        return
    from common import write_results

    rows = []
    for case in CASES:
        command = [sys.executable, __file__, "--one", case, "--size", str(given.size)]
        command += ["--batch-size", str(given.batch_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"case": case, "memory, MB": round(json.loads(done.stdout.splitlines()[-1]))})
        print(rows[-1], flush=True)
    write_results("memory", " ".join(["python benchmarks/memory.py", *arguments]), {"cases": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
