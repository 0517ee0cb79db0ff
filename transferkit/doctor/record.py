"""The examination as plain data, for programs and for `data.exclude`."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transferkit.doctor.examine import Examination
from transferkit.doctor.findings import REPORT, name_report


def record_of(examination: Examination, *, json_path: str = REPORT) -> dict[str, Any]:
    """All findings with all their pictures, the statistics, and under `exclude` what a recipe may leave out.

    Values are those that JSON knows; paths are the listing's, as a recipe names them.

    Args:
        json_path: of the record, as a recipe would name it.
    """
    exclude = examination.exclude
    return {
        "format": 1,
        "name": examination.recipe.name,
        "source": examination.listing.origin,
        "seed": examination.recipe.seed,
        "findings": [asdict(finding) for finding in name_report(examination.findings, json_path)],
        "statistics": asdict(examination.statistics),
        "exclude": [{"path": one.path, "reason": one.reason} for one in exclude],
        "exclude_digest": _digest(one.path for one in exclude),
    }


def is_edited(path: Path) -> bool:
    """Whether there is a file whose `exclude` is no longer, or never was, the list that doctor wrote."""
    try:
        record = json.loads(path.read_text("utf-8-sig"))
        return record["exclude_digest"] != _digest(one["path"] for one in record["exclude"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True  # whatever it is, doctor did not leave it like this


def _digest(paths: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(paths)).encode()).hexdigest()
