"""Pictures that the recipe leaves out by their paths."""

import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from transferkit.data.listing import Listing, Skipped
from transferkit.errors import DataError

_log = logging.getLogger(__name__)
EXCLUDED: Final = "excluded by the recipe"


def leave_out(listing: Listing, exclude: str | Sequence[str] | None) -> Listing:
    """The listing without the pictures that `data.exclude` names, which go to `skipped` with the reason.

    Args:
        exclude: paths as the run shows them, below the source's folder or from where the command runs; or a file that
            lists them: one per line, or, in a `.json` file, under the key `exclude` as objects of `path` and `reason`.
            One that is no picture's is tried without the space around it.

    Raises:
        DataError: there is no such file, or it is no such list.
    """
    if exclude is None:
        return listing
    reasons = read_exclude_file(Path(exclude).expanduser()) if isinstance(exclude, str) else dict.fromkeys(exclude, "")
    # Doctor's list may tell of what the source itself left out as well.
    known = {one.path for one in (*listing.pictures, *listing.skipped)}
    found = {path: _match(path, known, listing.origin) for path in reasons}
    if unknown := [path for path, match in found.items() if match is None]:
        _log.warning(
            "data.exclude: %d of %d entries are no picture of %s, such as %s",
            len(unknown), len(reasons), listing.origin, unknown[0],
        )  # fmt: skip
    left_out = {match: reasons[path] for path, match in found.items() if match}
    skipped = (
        Skipped(picture.path, f"{EXCLUDED}: {reason}" if (reason := left_out[picture.path]) else EXCLUDED)
        for picture in listing.pictures
        if picture.path in left_out
    )
    rest = [index for index, picture in enumerate(listing.pictures) if picture.path not in left_out]
    return replace(listing.only(rest), skipped=(*listing.skipped, *skipped))


def read_exclude_file(path: Path) -> dict[str, str]:
    """Reasons by path; an empty one where the file gives none.

    Raises:
        DataError: there is no such file, or it is no such list.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"data.exclude: {path} cannot be read: {error.strerror} (looked from {Path.cwd()}).\n"
            "Give a file of paths, one per line, doctor's .json report, or the paths themselves as a list: [a/1.jpg]"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"data.exclude: {path} is no UTF-8 text; give a file of paths, one per line.") from error
    if path.suffix.lower() != ".json":
        return dict.fromkeys((line for line in text.split("\n") if line.strip()), "")
    try:
        entries = json.loads(text)["exclude"]
        return dict(map(_path_and_reason, entries))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"data.exclude: {path} is no report of transferkit doctor: it needs a key `exclude` with a list of "
            '{"path": …, "reason": …}.'
        ) from error


def _path_and_reason(entry: object) -> tuple[str, str]:
    if isinstance(entry, Mapping):
        return str(entry["path"]), str(entry.get("reason", ""))
    if isinstance(entry, str):
        return entry, ""
    raise TypeError(entry)


def _match(path: str, known: Collection[str], origin: str) -> str | None:
    """The picture that an entry means: by its path as shown, or by one from here into the source's folder."""
    for written in (path, path.strip()):
        if written in known:
            return written
        options = [os.path.normpath(written)]
        with suppress(ValueError):  # another drive of Windows
            options.append(os.path.relpath(os.path.expanduser(written), origin or "."))
        if match := next((text for option in options if (text := option.replace(os.sep, "/")) in known), None):
            return match
    return None
