"""What doctor finds: one kind of trouble each, what it means and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from transferkit.data.listing import Skipped

Severity = Literal["blocking", "warning", "note"]
REPORT = "doctor.json"
"""What advice calls the report, until it is known where that is written: see `name_report`."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_FIRST: Final = ("leakage", "copies_across_splits")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A picture that shows a finding.

    Args:
        path: as the listing names it.
        note: what is seen on this one, such as `3 x 5000 pixels`; without a full stop.
        partner: path of the picture that it is to be compared with.
        partner_note: what is seen on that one.
    """

    path: str
    note: str = ""
    partner: str = ""
    partner_note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble with a set of pictures.

    Args:
        kind: stable name for programs, such as `leakage`.
        severity: `blocking`: results could not be believed, or a run would refuse the data; `warning`: worth mending;
            `note`: worth knowing.
        title: one line with the count, such as `12 test pictures look like training pictures`.
        meaning: what it does to a run; sentences.
        advice: what to do, with the recipe key; sentences.
        pictures: the evidence, the strongest first.
        num: how many pictures (or pairs, or classes) there are in all; `pictures` may show only some.
        exclude: what `data.exclude: doctor.json` leaves out because of it, with the reason; never mere suspects.
        settings: keys and values of a recipe's `data` section that mend it, where there is only one way.
        table: further evidence as rows of text, such as accuracies; the first row holds the heads.
    """

    kind: str
    severity: Severity
    title: str
    meaning: str
    advice: str
    pictures: tuple[Evidence, ...] = ()
    num: int = 0
    exclude: tuple[Skipped, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Blocking ones first, and leakage before all; otherwise as they came."""
    ranks = {kind: rank for rank, kind in enumerate(_FIRST)}
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), ranks.get(one.kind, len(ranks)))))


def has_blocking(findings: Iterable[Finding]) -> bool:
    """Whether any finding is blocking."""
    return any(finding.severity == "blocking" for finding in findings)


def name_report(findings: Iterable[Finding], path: str) -> tuple[Finding, ...]:
    """The findings with advice that names the report by its path, as a recipe has to."""
    there = f"data.exclude: {path}"
    return tuple(replace(one, advice=one.advice.replace(f"data.exclude: {REPORT}", there)) for one in findings)


def counted(num: int, one: str, many: str = "") -> str:
    """`1 picture`, `1,200 pictures`; `many` where an s is not enough."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """A path or name as one line; what would move the cursor, or is nothing to be seen, becomes an escape."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
