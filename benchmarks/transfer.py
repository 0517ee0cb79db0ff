"""Does transfer help? The quickstart recipe against two baselines without ImageNet weights.

    python benchmarks/transfer.py [--seeds 0 1 2] [--out benchmarks/transfer.json]

For each seed: (a) the quickstart recipe as it is; (b) the same recipe with `model.weights: none`; (c) everything
trained from scratch with `batch_norm: train` for at least as long as (a): the epochs that would fit into it if
building the training graph cost nothing, rounded up. Prints test accuracies and seconds of training.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path

from transferkit import FineTuner
from transferkit.bundle.versions import collect_versions
from transferkit.progress import Quiet
from transferkit.train.placement import local_strategy

_SCRATCH_PHASE = {
    "name": "scratch",
    "train": "all",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "ramp_epochs": 1,
    "batch_norm": "train",
}


def run(seed: int, **overrides: object) -> dict[str, float]:
    """Accuracies and seconds of training of one run; `last_epoch_s` has no graph building in it."""
    tuner = FineTuner.from_recipe("quickstart", seed=seed, **overrides)
    with tempfile.TemporaryDirectory() as folder:
        result = tuner.run(Path(folder) / "run", progress=Quiet())
    return {
        "test_accuracy": result.report["test"].accuracy,
        "validation_accuracy": result.report["validation"].accuracy,
        "train_s": round(sum(epoch.seconds for epoch in result.watch), 1),
        "last_epoch_s": round(result.watch[-1].seconds, 2),
        "epochs": len(result.history),
    }


def run_scratch(seed: int, epochs: int) -> dict[str, float]:
    return run(seed, model__weights="none", phases=[{**_SCRATCH_PHASE, "epochs": epochs}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/transfer.json"))
    arguments = parser.parse_args()
    results: dict[str, object] = {}
    scratch_epoch_s = run_scratch(0, 2)["last_epoch_s"]
    for seed in arguments.seeds:
        ours = run(seed)
        untrained = run(seed, model__weights="none")
        scratch = run_scratch(seed, math.ceil(ours["train_s"] / scratch_epoch_s))
        results[f"seed {seed}"] = {"imagenet": ours, "weights none": untrained, "from scratch": scratch}
        print(f"seed {seed}", flush=True)
        for name, row in results[f"seed {seed}"].items():
            print(f"  {name:<13} test {row['test_accuracy']:.1%}  {row['epochs']} epochs, {row['train_s']} s")
    versions = collect_versions(FineTuner.from_recipe("quickstart").recipe, "float32", local_strategy())
    arguments.out.write_text(json.dumps({"results": results, "versions": versions}, indent=2) + "\n")


if __name__ == "__main__":
    main()
