"""Pictures that a table names: CSV, JSON lines or Parquet, one picture in each row."""

import logging
import math
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from transferkit.data.folder_source import file_stamp, read_picture_file
from transferkit.data.listing import SPLIT_NAMES, Listing, Picture, Skipped, Split
from transferkit.data.table_rows import READERS, find_columns
from transferkit.errors import DataError
from transferkit.recipe.source import TableSource

_log = logging.getLogger(__name__)
# Longer than any file system's names.
_MAX_LABEL_CHARACTERS: Final = 255
# Of rows that name one file, the one that stays: what is reported on is not trained on.
_SPLIT_ORDER: Final = ("test", "validation", "train", None)


@dataclass(frozen=True, slots=True)
class _Row:
    """One good row; the picture's label is still to come."""

    where: str
    file: Path
    names: tuple[str, ...]
    picture: Picture


def list_table(source: TableSource, *, multi_label: bool) -> Listing:
    """List the pictures of a table. Rows that cannot be used are left out, each with its place and the reason.

    A path is relative to `root`, else to the table's folder, and shown as the table writes it. A label that is a
    number is its text; where all classes are whole numbers, their order is that of the values. A class whose rows are
    all left out is there, without a picture. Splits are called as folders are; an empty one is none.

    Args:
        multi_label: a label is a list of classes, or a text that `separator` divides, whose empty parts do not count;
            an empty one is no class at all.

    Raises:
        DataError: no such table, or none of this kind; a column is missing; a list where one class is meant; no good
            row.
    """
    path = find_table(source)
    names, rows = READERS[source.kind](path)
    columns = find_columns(source, names, path)
    reader = _RowReader(source, columns, multi_label)
    good: dict[str, list[_Row]] = {}
    skipped: list[Skipped] = []
    for where, values in rows(tuple(columns.values())):
        try:
            if isinstance(values, str):
                raise ValueError(values)
            row = reader.read(where, values)
            good.setdefault(os.path.abspath(row.file), []).append(row)
        except ValueError as error:
            name = values.get(source.path_column) if isinstance(values, Mapping) else None
            skipped.append(Skipped(_printable(str(name or path.name))[:300], f"{where}: {error}"))
    kept = [row for same in good.values() for row in _one_of(same, skipped)]
    if not kept:
        reasons = "".join(f"\n  {one.path}: {one.reason}" for one in skipped[:5])
        advice = f"Paths are looked up in {reader.root or '.'}; another folder can be given as root."
        raise DataError(f"{path}: none of {len(skipped)} rows can be used.{reasons}\n{advice}")
    class_names = _in_order(reader.class_names, {name for row in kept for name in row.names})
    if not multi_label:
        _warn_of_separators([row.names[0] for row in kept], source)
    index = {name: label for label, name in enumerate(class_names)}
    files = [row.file for row in kept]
    labels = [tuple(index[name] for name in row.names) for row in kept]
    return Listing(
        class_names,
        tuple(
            replace(row.picture, label=label if multi_label else label[0])
            for row, label in zip(kept, labels, strict=True)
        ),
        lambda chosen: (read_picture_file(files[position]) for position in chosen),
        origin=str(path),
        stamps=lambda: (file_stamp(file) for file in files),
        skipped=tuple(skipped),
    )


def find_table(source: TableSource) -> Path:
    """Where the table is.

    Raises:
        DataError: it is not there.
    """
    path = Path(source.path).expanduser()
    if not path.is_file():
        what = "a folder, not a table" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what} (looked from {Path.cwd()}).")
    return path


class _RowReader:
    """Makes good rows of a table's values."""

    def __init__(self, source: TableSource, columns: Mapping[str, str], multi_label: bool) -> None:
        self.source, self.columns, self.multi_label = source, columns, multi_label
        self.root = Path(source.root or Path(source.path).parent).expanduser()
        # Of all rows so far, those that are left out among them.
        self.class_names: set[str] = set()

    def read(self, where: str, values: Mapping[str, Any]) -> _Row:
        """The row at `where`.

        Raises:
            ValueError: it cannot be used; the message says why.
            DataError: its label is a list where one class is meant.
        """
        cells = {what: values.get(column) for what, column in self.columns.items()}
        names = self._names(cells["label"], where)
        self.class_names.update(names)
        path = cells["path"]
        if not isinstance(path, str) or not path:
            raise ValueError("has no path")
        picture = Picture(
            path=_printable(path),
            label=(),
            split=_split(cells.get("split")),
            weight=_weight(cells.get("weight")),
            group=_text(cells.get("group")) or None,
        )
        file = self.root / path
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                raise ValueError("is no ordinary file")
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        return _Row(where, file, names, picture)

    def _names(self, label: Any, where: str) -> tuple[str, ...]:
        if label is None:
            raise ValueError("has no label")
        if isinstance(label, list) and not self.multi_label:
            raise DataError(
                f"{self.source.path}, {where}: column {self.source.label_column!r} holds a list of classes.\n"
                "Pictures of several classes need loss: binary_cross_entropy; for one class each, write its name alone."
            )
        parts = label if isinstance(label, list) else [label]
        if self.multi_label and isinstance(label, str):
            parts = [part for part in label.split(self.source.separator) if part.strip()]
        names = tuple(sorted({_text(part) for part in parts}))
        for name in names:
            if not name:
                raise ValueError("has no label" if len(names) == 1 else "has an empty class among its labels")
            if not name.isprintable() or len(name) > _MAX_LABEL_CHARACTERS:
                fault = f"longer than {_MAX_LABEL_CHARACTERS} characters" if name.isprintable() else "not printable"
                raise ValueError(f"label {name[:40]!r} is {fault}")
        return names


def _in_order(class_names: Collection[str], used: Collection[str]) -> tuple[str, ...]:
    """Sorted; by value where all that have pictures are whole numbers, the rest last."""
    values = {name: int(name) for name in class_names if re.fullmatch("-?[0-9]+", name)}
    by_value = all(name in values for name in used)
    return tuple(sorted(class_names, key=lambda name: (values.get(name, math.inf) if by_value else 0, name)))


def _warn_of_separators(labels: Sequence[str], source: TableSource) -> None:
    divided = [label for label in labels if source.separator in label]
    if divided:
        _log.warning(
            "%s: %d of %d labels contain %r, such as %r, and each is taken for one class.\n"
            "Several classes per picture need loss: binary_cross_entropy.",
            source.path, len(divided), len(labels), source.separator, divided[0][:80],
        )  # fmt: skip


def _one_of(same: list[_Row], skipped: list[Skipped]) -> list[_Row]:
    """Of the rows that name one file the one that stays; none where they differ in its classes."""
    first = min(same, key=lambda row: _SPLIT_ORDER.index(row.picture.split))
    other = next((row for row in same if row.names != first.names), None)
    if other:
        labels = " but ".join(f"{';'.join(row.names) or 'nothing'} in {row.where}" for row in (first, other))
        skipped += [Skipped(row.picture.path, f"{row.where}: labelled {labels}") for row in same]
        return []
    skipped += [
        Skipped(row.picture.path, f"{row.where}: the same as {first.where}") for row in same if row is not first
    ]
    return [first]


def _split(value: Any) -> Split | None:
    name = _text(value).lower()
    if name and name not in SPLIT_NAMES:
        raise ValueError(f"split {name[:40]!r} is none of {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES.get(name)


def _weight(value: Any) -> float:
    text = _text(value)
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight {text[:40]!r} is no number from 0 on")
    return weight


def _text(value: Any) -> str:
    """Text without space around it; 7 and 7.0 are the same; nothing is empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"holds a {type(value).__name__} where text or a number is meant")
    return str(value).strip()


def _printable(path: str) -> str:
    """Bytes that are no UTF-8 are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()
