"""What the findings advise as lines of a recipe, to be pasted."""

import json
import re
from collections.abc import Iterator
from typing import Final

from transferkit.doctor.examine import Examination
from transferkit.doctor.findings import counted
from transferkit.recipe.source import FolderSource, TableSource

_CONSTANTS: Final = ("true", "false", "null")


def recipe_lines(examination: Examination, json_path: str) -> tuple[str, ...]:
    """The `data` section with what the findings advise, where there is only one way to say it; or nothing.

    Args:
        json_path: of the JSON report, as a recipe would name it.
    """
    settings = [f"  {key}: {value}" for key, value in _settings(examination, json_path)]
    source = examination.recipe.data.source
    has_path = isinstance(source, (FolderSource, TableSource))
    if settings and has_path and source == type(source)(path=source.path):  # there may be no recipe yet
        settings.insert(0, f"  source: {{{source.kind}: {_scalar(source.path)}}}")
    return ("data:", *settings) if settings else ()


def _settings(examination: Examination, json_path: str) -> Iterator[tuple[str, str]]:
    if any(finding.exclude for finding in examination.findings):  # beyond what the recipe leaves out already
        yield "exclude", f"{_scalar(json_path)}  # {counted(len(examination.exclude), 'picture')}"
    worth_it = [finding for finding in examination.findings if finding.severity != "note"]
    yield from dict.fromkeys(setting for finding in worth_it for setting in finding.settings)


def _scalar(text: str) -> str:
    """Text as YAML, in quotes where it could be taken for something else."""
    plain = re.fullmatch(r"(?:\.{0,2}/)*[^\W\d](?:[\w./ -]*[\w./-])?", text)
    return text if plain and text.lower() not in _CONSTANTS else json.dumps(text, ensure_ascii=False)
