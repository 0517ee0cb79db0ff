"""The examination as plain data, for programs and for `data.exclude`."""

from dataclasses import asdict
from typing import Any

from transferkit.doctor.examine import Examination


def record_of(examination: Examination) -> dict[str, Any]:
    """All findings with all their pictures, the statistics, and under `exclude` what a recipe may leave out.

    Values are those that JSON knows; paths are the listing's, as a recipe names them.
    """
    return {
        "format": 1,
        "name": examination.recipe.name,
        "source": examination.listing.origin,
        "seed": examination.recipe.seed,
        "findings": [asdict(finding) for finding in examination.findings],
        "statistics": asdict(examination.statistics),
        "exclude": [{"path": one.path, "reason": one.reason} for one in examination.exclude],
    }
