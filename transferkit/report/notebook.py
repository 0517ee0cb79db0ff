"""A run's result as a notebook shows it."""

import html
from collections.abc import Mapping
from pathlib import Path

from transferkit.evaluate.evaluate import Report
from transferkit.report.table import table_row


def result_to_html(run_dir: Path, report: Mapping[str, Report]) -> str:
    """A small table of results. All text from users is escaped."""
    rows = [{"split": split, **table_row(one)} for split, one in report.items()]
    header = "".join(f"<th>{head}</th>" for head in (rows[0] if rows else ()))
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row.values())}</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{body}</table><p>run folder: <code>{html.escape(str(run_dir))}</code></p>"
