"""The examination as one HTML page that needs nothing else: no network, no scripts, pictures inside."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.resources import files
from itertools import islice
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from transferkit.data.listing import SPLITS
from transferkit.doctor.advised import recipe_lines
from transferkit.doctor.examine import Examination
from transferkit.doctor.findings import SEVERITIES, Evidence, Finding, counted, name_report, printable
from transferkit.doctor.thumbnails import make_thumbnails
from transferkit.progress import Progress, Quiet

_MAX_SHOWN: Final = {"blocking": 24, "warning": 24, "note": 12}
# These can be judged by looking alone.
_MAX_MISLABELLED: Final = 96
# Up to 8 KB each, so that the page stays below 4 MB.
_MAX_THUMBNAILS: Final = 450
_MAX_ROWS: Final = 50
_MAX_CLASSES: Final = 100
_MAX_EXCLUDED: Final = 200
_RECIPE_KEY: Final = (
    r"\bdata\.[a-z_.]+\w(?:: (?:\{[^}]*\}|\[[^\]]*\]|%s|\w+))?"
    r"|\btransferkit (?:doctor|fetch|show)\b|\bfinetune --kfold \d+|--quick\b"
)


def render_page(examination: Examination, *, json_path: str, progress: Progress | None = None) -> str:
    """The page's text.

    Args:
        json_path: of the JSON report, as a recipe would name it.
    """
    code = re.compile(_RECIPE_KEY % re.escape(printable(json_path)))
    findings, statistics = name_report(examination.findings, json_path), examination.statistics
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "printable": printable,
        "with_code": partial(_with_code, code=code),
        "thousands": "{:,}".format,
        "breakable": _breakable,
    }
    template = environment.from_string((files("transferkit.doctor") / "page.html.j2").read_text("utf-8"))
    shown = {id(finding): finding.pictures[: _num_shown(finding)] for finding in findings}
    thumbnails = make_thumbnails(
        islice(_paths(shown.values()), _MAX_THUMBNAILS),
        examination.listing,
        examination.scan,
        max_megapixels=examination.recipe.data.max_megapixels,
        progress=progress or Quiet(),
    )
    classes = sorted(statistics.per_class.items(), key=lambda one: -sum(one[1].values()))
    return template.render(
        name=examination.recipe.name,
        origin=examination.listing.origin,
        findings=findings,
        shown=lambda finding: shown[id(finding)],
        per_severity={severity: sum(one.severity == severity for one in findings) for severity in SEVERITIES},
        thumbnails=thumbnails,
        has_thumbnail=lambda pictures: any(one.path in thumbnails for one in pictures),
        statistics=statistics,
        num_placed=max(1, sum(statistics.per_split.values())),
        splits=SPLITS,
        classes=classes[:_MAX_CLASSES],
        num_more_classes=max(0, len(classes) - _MAX_CLASSES),
        largest_class=max((sum(counts.values()) for _, counts in classes), default=0) or 1,
        exclude=examination.exclude[:_MAX_EXCLUDED],
        num_excluded=len(examination.exclude),
        recipe_lines=recipe_lines(examination, json_path),
        max_rows=_MAX_ROWS,
        counted=counted,
        is_number=re.compile(r"[\d,.]+%?").fullmatch,
    )


def _num_shown(finding: Finding) -> int:
    return _MAX_MISLABELLED if finding.kind == "mislabelled" else _MAX_SHOWN[finding.severity]


def _paths(shown: Sequence[Sequence[Evidence]]) -> Iterator[str]:
    seen = {""}
    for pictures in shown:
        for one in pictures:
            for path in (one.path, one.partner):
                if path not in seen:
                    seen.add(path)
                    yield path


def _breakable(path: str) -> Markup:
    """A path that may go on in the next line behind its signs."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_.-])(?=\w)", path))


def _with_code(text: str, code: re.Pattern[str]) -> Markup:
    """The text with recipe keys and commands set as code."""
    parts, end = [], 0
    for match in code.finditer(text):
        parts += [text[end : match.start()], Markup("<code>{}</code>").format(match.group())]
        end = match.end()
    return Markup("").join([*parts, text[end:]])  # escapes what is no Markup
