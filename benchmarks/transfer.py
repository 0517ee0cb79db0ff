"""Does transfer help? The quickstart recipe against two baselines without ImageNet weights.

    python benchmarks/transfer.py [--seeds 0 1 2] [--out benchmarks/transfer.json]

For each seed: (a) the quickstart recipe as it is; (b) the same recipe with `model.weights: none`; (c) everything
trained from scratch with `batch_norm: train`, for as many epochs as fit into the training time of (a), rounded up.
Prints test accuracies and seconds of training.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path

from transferkit import FineTuner
from transferkit.bundle.versions import collect_versions
from transferkit.progress import Quiet

_SCRATCH_PHASE = {
    "name": "scratch",
    "train": "all",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "ramp_epochs": 1,
    "batch_norm": "train",
}


def run(seed: int, **overrides: object) -> dict[str, float]:
    """Test accuracy, validation accuracy and seconds of training of one run."""
    tuner = FineTuner.from_recipe("quickstart", seed=seed, **overrides)
    with tempfile.TemporaryDirectory() as folder:
        result = tuner.run(Path(folder) / "run", progress=Quiet())
    return {
        "test_accuracy": result.report["test"].accuracy,
        "validation_accuracy": result.report["validation"].accuracy,
        "train_s": round(sum(epoch.seconds for epoch in result.history), 1),
        "epochs": len(result.history),
    }


def scratch_epochs(seconds: float) -> int:
    """Epochs of training from scratch that take at least `seconds` on this machine, measured over two of them."""
    probe = run(0, model__weights="none", phases=[{**_SCRATCH_PHASE, "epochs": 2}])
    return math.ceil(seconds / (probe["train_s"] / 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/transfer.json"))
    arguments = parser.parse_args()
    results: dict[str, object] = {}
    for seed in arguments.seeds:
        ours = run(seed)
        untrained = run(seed, model__weights="none")
        epochs = scratch_epochs(ours["train_s"])
        scratch = run(seed, model__weights="none", phases=[{**_SCRATCH_PHASE, "epochs": epochs}])
        results[f"seed {seed}"] = {"imagenet": ours, "weights none": untrained, "from scratch": scratch}
        print(f"seed {seed}")
        for name, row in results[f"seed {seed}"].items():
            print(f"  {name:<13} test {row['test_accuracy']:.1%}  {row['epochs']} epochs, {row['train_s']} s")
    versions = collect_versions(FineTuner.from_recipe("quickstart").recipe, precision="float32")
    arguments.out.write_text(json.dumps({"results": results, "versions": versions}, indent=2) + "\n")


if __name__ == "__main__":
    main()
