"""What a person reads after a run was stopped: the command that goes on with it."""

import os
from collections.abc import Sequence
from pathlib import Path

from transferkit.bundle.unfinished import find_unfinished, is_unfinished
from transferkit.cli.options import with_changes
from transferkit.download.file import is_offline
from transferkit.recipe.recipe import Recipe
from transferkit.train.cluster import find_cluster

_HERE = "127.0.0.1:"


def how_to_go_on(recipe: Recipe, name: str, changes: Sequence[str], run_dir: Path | None) -> str:
    """The command that goes on where a run stopped, or begins anew where nothing of it is there.

    Args:
        name, changes, run_dir: as the stopped command had them.
    """
    command = ["transferkit", "finetune", name]
    found = run_dir or find_unfinished(Path("runs"), recipe)
    unfinished = found if found and is_unfinished(found) else None
    if folder := unfinished or run_dir:
        command += ["--run-dir", str(folder)]
    if unfinished:
        command.append("--resume")
    if is_offline(os.environ):
        command.append("--offline")
    doing = "go on" if unfinished else "begin again"
    cluster = find_cluster(os.environ, strategy=recipe.runtime.strategy, backend=recipe.runtime.backend)
    if cluster and all(address.startswith(_HERE) for address in cluster.addresses):
        command += ["--workers", str(cluster.num_processes)]
    elif cluster:
        doing = f"{doing}, in every process of the run,"
    return f"{doing} with:\n  {with_changes(command, changes)}"
