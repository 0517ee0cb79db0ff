"""What is written in single cells of a table."""

import ast
import math
import re
from contextlib import suppress
from typing import Any

from transferkit.data.listing import SPLIT_NAMES, Split


class NoSplitError(ValueError):
    """A row's split is none."""


def parts_of(label: str, separator: str) -> list[Any]:
    """The classes in one label: between separators, or a list as Python writes it."""
    text = label.strip()
    if text.startswith("[") and text.endswith("]"):
        if "," not in text and (quoted := re.findall(r"'([^']*)'", text)):  # as NumPy writes it
            return quoted
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return list(ast.literal_eval(text))
    return [part for part in text.split(separator) if part.strip()]


def split_of(value: Any) -> Split | None:
    """By any name of `SPLIT_NAMES`; nothing is none.

    Raises:
        NoSplitError: it is another name.
    """
    name = text_of(value).lower()
    if name and name not in SPLIT_NAMES:
        raise NoSplitError(f"split {name[:40]!r} is none of {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES.get(name)


def weight_of(value: Any) -> float:
    """1 where nothing is written; a decimal comma is one.

    Raises:
        ValueError: it is no number from 0 on.
    """
    text = text_of(value)
    if not text:
        return 1.0
    try:
        weight = float(text.replace(",", ".") if text.count(",") == 1 else text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight {text[:40]!r} is no number from 0 on")
    return weight


def text_of(value: Any) -> str:
    """Text without space around it; 7 and 7.0 are the same; nothing is empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"holds a {type(value).__name__} where text or a number is meant")
    return str(value).strip()


def printable(path: str) -> str:
    """Bytes that are no UTF-8 are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def is_utf8(text: str) -> bool:
    """Whether it was read without bytes that are no UTF-8."""
    return not re.search("[\udc80-\udcff]", text)
