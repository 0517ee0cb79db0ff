"""The same fine-tune in PyTorch (timm's ResNet50) beside transferkit: warm-up, then the last stage.

    python benchmarks/against_torch.py --torch-python PYTHON [--images 64] [--epochs 2]

PYTHON is one that has torch and timm. Both sides train on the same drawn pictures at 224 px in batches of 16, AdamW,
random weights, no augmentation, batch norm in inference mode. The PyTorch side is the usual loop: frozen parameters
without gradients, pictures through the whole network in every epoch. Each side in a process of its own, in turn, and
its first epoch, in which it warms up or stores features, is given apart.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SIZE_PX, BATCH_SIZE = 224, 16
_TORCH = """
import json, sys, time
import numpy as np, timm, torch
images, labels = np.load(sys.argv[1])["images"], np.load(sys.argv[1])["labels"]
epochs = int(sys.argv[2])
model = timm.create_model("resnet50", pretrained=False, num_classes=10)
seconds = []
for phase in ("head", "last stage"):
    for name, parameter in model.named_parameters():
        trains = name.startswith("fc") or (phase == "last stage" and name.startswith("layer4"))
        parameter.requires_grad = trains and ".bn" not in name and "downsample.1" not in name
    model.eval()  # batch norm with its stored statistics; the network has no dropout
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    for epoch in range(epochs):
        start_s, order = time.perf_counter(), np.random.default_rng(epoch).permutation(len(images))
        for first in range(0, len(order), 16):
            rows = order[first : first + 16]
            batch = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float().sub_(116.0).div_(58.0)
            batch = batch.contiguous(memory_format=torch.channels_last)
            loss = torch.nn.functional.cross_entropy(model(batch), torch.from_numpy(labels[rows]).long())
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        seconds.append(time.perf_counter() - start_s)
print(json.dumps(seconds))
"""


def ours(file: Path, epochs: int) -> list[float]:
    import numpy as np
    from common import Hook, make_data, make_recipe, train_ours

    stored = np.load(file)
    images, labels = stored["images"], stored["labels"]
    # One picture validates, since the other side does not validate at all.
    data = make_data(np.concatenate([images, images[:1]]), np.append(labels, labels[0]), num_train=len(images))
    phases = [
        {"name": "warm-up", "train": "head", "epochs": epochs, "learning_rate": 1e-5},
        {"name": "last stage", "train": {"last_stages": 1}, "epochs": epochs, "learning_rate": 1e-5},
    ]
    ends: list[float] = [time.perf_counter()]
    train_ours(data, make_recipe("resnet50", SIZE_PX, phases), hook=Hook(lambda: ends.append(time.perf_counter())))
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="a Python with torch and timm")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours", type=Path, help="this side alone, in this process, on pictures in a file")
    given = parser.parse_args(arguments)
    if given.ours:
        print(json.dumps(ours(given.ours, given.epochs)))
        return
    import tempfile

    import numpy as np
    from common import draw_pictures, write_results

    sides: dict[str, list[list[float]]] = {"torch": [], "transferkit": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pictures.npz"
        images, labels = draw_pictures(given.images, SIZE_PX)
        np.savez(file, images=images, labels=labels)
        commands = {
            "torch": [given.torch_python, "-c", _TORCH, str(file), str(given.epochs)],
            "transferkit": [sys.executable, __file__, "--ours", str(file), "--epochs", str(given.epochs)],
        }
        for _ in range(given.rounds):
            for side, command in commands.items():
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                sides[side].append(json.loads(done.stdout.splitlines()[-1]))
    figures: dict[str, object] = {"images": given.images, "epochs of each phase": given.epochs}
    for side, rounds in sides.items():
        seconds = np.median(rounds, axis=0).round(2).tolist()
        figures[f"{side}, seconds of each epoch"] = {
            "warm-up": seconds[: given.epochs],
            "last stage": seconds[given.epochs :],
        }
    versions = "import json, timm, torch; print(json.dumps([torch.__version__, timm.__version__]))"
    done = subprocess.run([given.torch_python, "-c", versions], capture_output=True, text=True, check=True)
    figures["torch, timm"] = json.loads(done.stdout)
    write_results("against_torch", f"python benchmarks/against_torch.py --images {given.images}", figures)


if __name__ == "__main__":
    main(sys.argv[1:])
