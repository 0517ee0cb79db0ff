"""Pictures that a table names: CSV, JSON lines or Parquet, one picture in each row."""

import logging
import math
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from transferkit.data.folder_source import file_finder, file_stamp, read_picture_file
from transferkit.data.listing import Listing, Picture, Skipped
from transferkit.data.table_cells import NoSplitError, is_utf8, parts_of, printable, split_of, text_of, weight_of
from transferkit.data.table_rows import READERS, find_columns
from transferkit.errors import DataError
from transferkit.recipe.source import TableSource

_log = logging.getLogger(__name__)
# Longer than any file system's names.
_MAX_LABEL_CHARACTERS: Final = 255
_MAX_SHOWN: Final = 5
_NOT_UTF8: Final = " is no UTF-8; save the table as UTF-8"
# Of rows that name one file, the one that stays: what is reported on is not trained on.
_SPLIT_ORDER: Final = ("test", "validation", "train", None)


class _NoFileError(ValueError):
    """A row's path leads nowhere."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One good row; the picture's label is still to come."""

    where: str
    file: str
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
        DataError: no such table, or none of this kind; a column is missing; a list where one class is meant; rows of
            zeros and ones; no good row.
    """
    path = find_table(source)
    names, rows = READERS[source.kind](path)
    columns = find_columns(source, names, path)
    reader = _RowReader(source, columns, multi_label)
    good: dict[str, list[_Row]] = {}
    skipped: list[Skipped] = []
    faults: set[type[ValueError]] = set()
    for where, values in rows(tuple(columns.values())):
        try:
            if isinstance(values, str):
                raise ValueError(values)
            row = reader.read(where, values)
            good.setdefault(os.path.abspath(row.file), []).append(row)
        except ValueError as error:
            faults.add(type(error))
            name = values.get(source.path_column) if isinstance(values, Mapping) else None
            skipped.append(Skipped(printable(str(name or path.name))[:300], f"{where}: {error}"))
    reader.refuse_zeros_and_ones()
    kept = [row for same in good.values() for row in _one_of(same, skipped)]
    if not kept:
        raise DataError(f"{path}: {_why_nothing(skipped, faults, reader.root)}")
    class_names = _in_order(reader.class_names, {name for row in kept for name in row.names})
    if multi_label:
        _warn_of_other_separators([row.names for row in kept], source)
    else:
        _warn_of_separators([row.names[0] for row in kept], source)
    index = {name: label for label, name in enumerate(class_names)}
    labels = (tuple(index[name] for name in row.names) for row in kept)
    pictures = tuple(
        replace(row.picture, label=label if multi_label else label[0]) for row, label in zip(kept, labels, strict=True)
    )
    others = {
        position: row.file
        for position, (row, picture) in enumerate(zip(kept, pictures, strict=True))
        if os.path.join(reader.root, picture.path) != row.file
    }
    file_of = file_finder(reader.root, pictures, others)
    return Listing(
        class_names,
        pictures,
        lambda chosen: (read_picture_file(file_of(position)) for position in chosen),
        origin=str(path),
        stamps=lambda: (file_stamp(file_of(position)) for position in range(len(pictures))),
        skipped=tuple(skipped),
    )


def find_table(source: TableSource) -> Path:
    """Where the table is.

    Raises:
        DataError: it is not there, or the folder is not that its paths are relative to.
    """
    path = Path(source.path).expanduser()
    if not path.is_file():
        what = "a folder, not a table" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what} (looked from {Path.cwd()}).")
    if source.root and not Path(source.root).expanduser().is_dir():
        raise DataError(f"{source.root}: no such folder, which data.source.root names (looked from {Path.cwd()}).")
    return path


class _RowReader:
    """Makes good rows of a table's values."""

    def __init__(self, source: TableSource, columns: Mapping[str, str], multi_label: bool) -> None:
        self.source, self.columns, self.multi_label = source, columns, multi_label
        self.root = str(Path(source.root or Path(source.path).parent).expanduser())
        # Of all rows so far, those that are left out among them.
        self.class_names: set[str] = set()
        # How long the labels are that are lists of zeros and ones; 0 stands for all other labels.
        self._lengths: set[int] = set()

    def read(self, where: str, values: Mapping[str, Any]) -> _Row:
        """The row at `where`.

        Raises:
            ValueError: it cannot be used; the message says why.
            DataError: its label is a list where one class is meant.
        """
        cells = {what: values.get(column) for what, column in self.columns.items()}
        names = self._names(cells["label"], where)
        self.class_names.update(names)
        settings = {
            "split": split_of(cells.get("split")),
            "weight": weight_of(cells.get("weight")),
            "group": text_of(cells.get("group")) or None,
        }
        path, file = self._find(cells["path"])
        return _Row(where, file, names, Picture(printable(path), (), **settings))

    def refuse_zeros_and_ones(self) -> None:
        """Raise DataError where all labels are lists of as many of them; a single one may mean the classes 0 and 1."""
        if len(self._lengths) == 1 and max(self._lengths) > 1:
            raise DataError(
                f"{self.source.path}: column {self.source.label_column!r} holds rows of zeros and ones.\n"
                "Write the names or numbers of a picture's classes instead: [2, 5] in place of [0, 0, 1, 0, 0, 1]."
            )

    def _find(self, cell: Any) -> tuple[str, str]:
        """A row's path and its file; where there is none, the same path as another system would write it is tried."""
        path = cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell
        if not text_of(path):
            raise ValueError("has no path")
        if not isinstance(path, str):
            raise ValueError("holds a number where a path is meant")
        first_error = None
        for written in dict.fromkeys(_spellings(path)):
            file = os.path.join(self.root, os.path.expanduser(written) if written.startswith("~/") else written)
            try:
                is_file = stat.S_ISREG(os.stat(file).st_mode)
            except OSError as error:
                first_error = first_error or error
                continue
            if not is_file:
                raise ValueError("is no ordinary file")
            return written.replace(os.sep, "/"), file
        raise _NoFileError(f"cannot be read: {first_error.strerror}{'' if is_utf8(path) else _NOT_UTF8}")

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
            parts = parts_of(label, self.source.separator)
        names = tuple(sorted({text_of(part) for part in parts}))
        for name in names:
            if not name:
                raise ValueError("has no label" if len(names) == 1 else "has an empty class among its labels")
            if not is_utf8(name):
                raise ValueError(f"label {name[:40]!r}{_NOT_UTF8}")
            if not name.isprintable() or len(name) > _MAX_LABEL_CHARACTERS:
                fault = f"longer than {_MAX_LABEL_CHARACTERS} characters" if name.isprintable() else "not printable"
                raise ValueError(f"label {name[:40]!r} is {fault}")
        if names:  # no class is an empty label, however others are written
            is_bits = isinstance(label, list) and all(part in (0, 1) for part in label)
            self._lengths.add(len(label) if is_bits else 0)
        return names


def _spellings(path: str) -> Iterator[str]:
    """As written; without space around; as Windows and macOS mean it: backslashes for folders, marks beside letters."""
    yield path
    yield (path := path.strip())
    if "\\" in path:
        yield (path := path.replace("\\", "/"))
    if not path.isascii():
        yield from (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))


def _why_nothing(skipped: Sequence[Skipped], faults: Collection[type[ValueError]], root: str) -> str:
    if not skipped:
        return "has no rows."
    reasons = "".join(f"\n  {one.path}: {one.reason}" for one in skipped[:_MAX_SHOWN])
    advice = {
        _NoFileError: f"\nPaths are looked up in {root}; another folder can be given as root.",
        NoSplitError: "\nIf that column is not about splits, set split_column to another one, or to '' for none.",
    }
    fitting = "".join(text for fault, text in advice.items() if fault in faults)
    return f"none of {len(skipped)} rows can be used.{reasons}{fitting}"


def _in_order(class_names: Collection[str], used: Collection[str]) -> tuple[str, ...]:
    """Sorted; by value where all that have pictures are whole numbers, the rest last."""
    values = {name: int(name) for name in class_names if re.fullmatch("-?[0-9]+", name)}
    by_value = all(name in values for name in used)
    return tuple(sorted(class_names, key=lambda name: (values.get(name, math.inf) if by_value else 0, name)))


def _warn_of_other_separators(labels: Sequence[Sequence[str]], source: TableSource) -> None:
    """Labels of several classes may be divided by something else, and would each be taken for one class."""
    odd = [names[0] for names in labels if names and re.search(r"[\s,|/+]", names[0])]
    if max(map(len, labels)) < 2 and 2 * len(odd) > len(labels):
        _log.warning(
            "%s: no label contains %r, and each is taken for one class, such as %r.\n"
            "If they hold several, say what stands between them: separator.",
            source.path, source.separator, odd[0][:80],
        )  # fmt: skip


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
