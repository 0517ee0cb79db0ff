"""Fine-tune ImageNet backbones on your own pictures."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["FineTuner", "load", "load_recipe", "run_folds"]

if TYPE_CHECKING:
    from transferkit.bundle.finished import load_run as load
    from transferkit.check import load_recipe
    from transferkit.finetuner import FineTuner
    from transferkit.studies.kfold import run_folds


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing transferkit must cost nothing.
    if name == "FineTuner":
        from transferkit.finetuner import FineTuner

        return FineTuner
    if name == "load":
        from transferkit.bundle.finished import load_run

        return load_run
    if name == "load_recipe":
        from transferkit.check import load_recipe

        return load_recipe
    if name == "run_folds":
        from transferkit.studies.kfold import run_folds

        return run_folds
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
