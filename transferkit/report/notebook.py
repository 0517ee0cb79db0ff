"""A run's result as a notebook shows it."""

import html
from collections.abc import Mapping
from pathlib import Path

from transferkit.evaluate.metrics import EvalReport


def result_to_html(run_dir: Path, report: Mapping[str, EvalReport]) -> str:
    """A small table of results. All text from users is escaped."""
    rows = "".join(
        f"<tr><td>{html.escape(split)}</td><td>{one.num_images}</td><td>{one.accuracy:.1%}</td>"
        f"<td>{one.balanced_accuracy:.1%}</td><td>{one.macro_average.f1:.3f}</td><td>{one.log_loss:.3f}</td>"
        f"<td>{one.majority_baseline.accuracy:.1%}</td></tr>"
        for split, one in report.items()
    )
    heads = ("split", "images", "accuracy", "balanced accuracy", "macro F1", "log loss", "majority baseline")
    header = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><tr>{header}</tr>{rows}</table><p>run folder: <code>{html.escape(str(run_dir))}</code></p>"
