"""Rows of CSV, JSON lines and Parquet files, one by one, with the faulty ones among them."""

import csv
import difflib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from transferkit.errors import DataError
from transferkit.recipe.source import TableSource

# Python's limit is 128 KiB, for the whole process.
_MAX_FIELD_CHARACTERS: Final = 2**25
_MAX_SHOWN: Final = 20
_ONE_HOT: Final = "\nWhere each class has a column of its own, write the names of a picture's classes into one column."
# Where a row stands, such as `line 7`, and its values by column, or what is wrong with it.
Rows = Iterator[tuple[str, Mapping[str, Any] | str]]
# The names of a table's columns, and its rows as far as the columns that are asked for.
Table = tuple[Sequence[str], Callable[[Collection[str]], Rows]]


def read_csv(path: Path) -> Table:
    """With a header line; fields are divided by comma, semicolon or tab, whichever the header has most of.

    Raises:
        DataError: it is no text with a header, or a quote is never closed.
    """
    lines = _csv_lines(path)
    header = next(lines, ("", ""))[1]
    names = [name.strip() for name in header] if isinstance(header, list) else []
    if not names or not all(name.isprintable() for name in names):
        raise DataError(
            f"{path}: is no CSV file with a header line, such as path,label; spreadsheets save one as CSV UTF-8"
        )

    def rows(_: Collection[str]) -> Rows:
        for where, fields in lines:
            if isinstance(fields, str):
                yield where, fields
            elif len(fields) > len(names):
                yield where, f"has {len(fields)} fields, the header has {len(names)}"
            elif fields:
                yield where, dict(zip(names, fields, strict=False))

    return names, rows


def read_jsonl(path: Path) -> Table:
    """One JSON object per line; it need not have all columns.

    Raises:
        DataError: not one line is a JSON object.
    """
    # Read twice, since all lines at once take much memory.
    names = {name: None for _, values in _json_lines(path) if not isinstance(values, str) for name in values}
    if not names:
        raise DataError(f'{path}: no line is a JSON object, such as {{"path": "cat/1.jpg", "label": "cat"}}')
    return tuple(names), lambda _: _json_lines(path)


def read_parquet(path: Path) -> Table:
    """
    Raises:
        DataError: it is no Parquet file.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet files need pyarrow, which is not installed: pip install pyarrow") from error

    @contextmanager
    def refused() -> Iterator[None]:
        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: is no Parquet file, or is damaged: {str(error)[:200]}") from error

    with refused():
        file = parquet.ParquetFile(path)

    def rows(columns: Collection[str]) -> Rows:
        number = 0
        with refused():
            for batch in file.iter_batches(columns=list(columns)):
                for values in batch.to_pylist():
                    number += 1
                    yield f"row {number}", values

    return file.schema_arrow.names, rows


def find_columns(source: TableSource, names: Sequence[str], path: Path) -> dict[str, str]:
    """The column of `path`, `label` and, where there are such, of `split`, `weight` and `group`.

    Capitals do not matter where only one name fits without them.

    Raises:
        DataError: one that is needed or asked for is missing.
    """
    columns = {"path": source.path_column, "label": source.label_column}
    asked = {"split": source.split_column, "weight": source.weight_column, "group": source.group_column}
    columns |= {what: what if column is None else column for what, column in asked.items() if column != ""}
    found = {what: _name_as_written(column, names) for what, column in columns.items()}
    for name in filter(None, found.values()):
        if names.count(name) > 1:
            raise DataError(f"{path}: has {names.count(name)} columns called {name!r}; rename or remove the others.")
    missing = [what for what, name in found.items() if name is None and asked.get(what, "needed") is not None]
    if missing:
        raise DataError(_missing_columns(source, names, path, columns, missing))
    return {what: name for what, name in found.items() if name is not None}


def _name_as_written(column: str, names: Sequence[str]) -> str | None:
    alike = [name for name in names if name.lower() == column.lower()]
    return column if column in names else alike[0] if len(alike) == 1 else None


def _missing_columns(
    source: TableSource, names: Sequence[str], path: Path, columns: Mapping[str, str], missing: Sequence[str]
) -> str:
    near = {
        what: difflib.get_close_matches(columns[what], names, n=1) or [name for name in names if what in name.lower()]
        for what in missing
    }
    lacks = " and ".join(
        f"{columns[what]!r}{f' (did you mean {guess[0]!r}?)' if guess else ''}" for what, guess in near.items()
    )
    # What the recipe has said already stays.
    said = {what: column for what, column in columns.items() if what not in missing and column != what}
    said |= {what: guess[0][:60] if guess else "…" for what, guess in near.items()}
    keys = ", ".join(f"{what}_column: {name}" for what, name in said.items())
    root = f", root: {source.root}" if source.root else ""
    one_hot = "label" in missing and not near["label"] and len(names) > 2
    return (
        f"{path}: has no column {lacks}\n"
        f"    columns: {', '.join(name[:60] for name in names[:_MAX_SHOWN])}\n"
        f"Say which it is: source: {{{source.kind}: {source.path}{root}, {keys}}}"
        f"{_ONE_HOT if one_hot else ''}"
    )


def _json_lines(path: Path) -> Rows:
    with _readable(path), path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            yield f"line {number}", values if isinstance(values, dict) else "is no JSON object"


def _csv_lines(path: Path) -> Iterator[tuple[str, list[str] | str]]:
    # A byte that is no UTF-8 spoils its own field only.
    text = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    limit = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    try:
        with _readable(path), path.open(**text) as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            while True:
                where = f"line {reader.line_num + 1}"
                try:
                    yield where, next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if "end of data" in str(error):
                        # It may have swallowed thousands of rows.
                        raise DataError(f"{path}: the quote that opens in {where} is never closed") from error
                    yield where, f"is no CSV: {error}"
    finally:
        csv.field_size_limit(limit)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


READERS: Final[Mapping[str, Callable[[Path], Table]]] = {"csv": read_csv, "jsonl": read_jsonl, "parquet": read_parquet}
