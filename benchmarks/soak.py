"""Does a killed run end like an undisturbed one? SIGKILL at random moments, the same command again, until it is done.

    python benchmarks/soak.py [--kills 20] [--recipe quickstart] [--set KEY=VALUE …] [--seed 0]

One run is left alone. Others are killed, each again and again, after a time drawn uniformly from nothing to the time
that the undisturbed run took, and are started again with the same command; a new one begins when one is done, until
there were enough kills. Every run has a feature cache of its own. Compared are SHA-256 of the arrays in model.keras,
and of history.csv, results.json and predictions.csv.

The default is the quickstart recipe (EfficientNet-Lite0 with ImageNet weights, embedded pictures, augmentation on),
with fewer epochs and pixels, and a checkpoint every 3 steps. Figures go to benchmarks/results/soak.json.
"""

import argparse
import hashlib
import io
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
from common import write_results

from transferkit.train.checkpoint import Checkpoints

_SHORT = ("data.image_size=128", "phases[0].epochs=4", "phases[1].epochs=3", "checkpoint.every=3 steps")
_FILES = ("history.csv", "results.json", "predictions.csv")
_MAX_STARTS = 60


class Run:
    """One run folder and its cache, and the command that begins or goes on."""

    def __init__(self, root: Path, recipe: str, changes: Sequence[str]) -> None:
        self.folder, self._cache, self._output = root / "run", root / "cache", root / "output.txt"
        self._command = [sys.executable, "-m", "transferkit", "finetune", recipe, "--run-dir", str(self.folder)]
        for change in changes:
            self._command += ["--set", change]
        root.mkdir()
        self._environment = {**os.environ, "TRANSFERKIT_HOME": str(self._cache), "PYTHONUNBUFFERED": "1"}

    @property
    def is_done(self) -> bool:
        return (self.folder / "results.json").exists()

    def start(self, kill_after_s: float | None = None) -> bool:
        """Run the command, to its end or for some seconds; whether it was killed."""
        self._start_s = time.time()
        with self._output.open("w") as output:
            process = subprocess.Popen(self._command, stdout=output, stderr=output, env=self._environment)
            try:
                code = process.wait(kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return True
        if code:
            raise SystemExit(f"the command ended with {code}:\n{self._output.read_text()}")
        return False

    def where(self) -> str:
        """Where the run was killed, as far as its last line and its folder tell."""
        lines = self._output.read_text().splitlines()
        said = lines[-1].replace(f" in {self._cache}", "") if lines else "starting"
        if _written_s(self.folder / "results.json") > self._start_s:
            said = "after its results"
        elif _written_s(self.folder / "model.keras") > self._start_s:
            said = "evaluating"
        elif list((self.folder / "checkpoints").glob(".*")):
            said += " (writing a checkpoint)"
        saved = Checkpoints(self.folder / "checkpoints").latest()
        if not saved:
            return f"{said}; no checkpoint"
        return f"{said}; checkpoint of phase {saved.meta['phase']}, " + (
            f"{len(saved.meta['epochs'])} epochs and {saved.meta['position']} steps"
        )

    def digests(self) -> dict[str, str]:
        """SHA-256 by what is compared."""
        files = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in _FILES}
        return {"weights": _digest_of_weights(self.folder / "model.keras"), **files}


def _written_s(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _digest_of_weights(path: Path) -> str:
    """Of the arrays and their names; the file's own bytes hold times."""
    digest = hashlib.sha256()

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(f"{name} {item.dtype} {item.shape} ".encode())
            digest.update(item[()].tobytes())

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        weights.visititems(add)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--set", action="append", dest="changes", metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    changes = arguments.changes or _SHORT
    draw, kills, runs = random.Random(arguments.seed), [], []
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        undisturbed = Run(Path(scratch, "undisturbed"), arguments.recipe, changes)
        start_s = time.monotonic()
        undisturbed.start()
        took_s = time.monotonic() - start_s
        expected = undisturbed.digests()
        print(f"undisturbed: {took_s:.0f} s, weights {expected['weights'][:16]}", flush=True)
        while len(kills) < arguments.kills:
            run, starts = Run(Path(scratch, f"run-{len(runs)}"), arguments.recipe, changes), 0
            while not run.is_done:
                starts += 1
                if starts > _MAX_STARTS:
                    raise SystemExit("killed too often to come to an end")
                after_s = draw.uniform(0, took_s) if len(kills) < arguments.kills else None
                if run.start(after_s):
                    kills.append({"run": len(runs), "after_s": round(after_s, 1), "where": run.where()})
                    print(f"kill {len(kills)} after {after_s:.1f} s of run {len(runs)}: {run.where()}", flush=True)
            found = run.digests()
            runs.append({"starts": starts, "equal": {name: found[name] == expected[name] for name in expected}})
            print(f"run {len(runs) - 1}: done after {starts} starts; equal: {runs[-1]['equal']}", flush=True)
    all_equal = all(all(run["equal"].values()) for run in runs)
    write_results(
        "soak",
        f"python benchmarks/soak.py --kills {arguments.kills} --recipe {arguments.recipe} --seed {arguments.seed}",
        {
            "changes": list(changes),
            "undisturbed_s": round(took_s, 1),
            "num_kills": len(kills),
            "all_equal": all_equal,
            "sha256": expected,
            "runs": runs,
            "kills": kills,
        },
    )
    sys.exit(not all_equal)


if __name__ == "__main__":
    main()
