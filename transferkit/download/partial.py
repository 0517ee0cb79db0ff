"""A file that has come in part, kept beside its place until the rest is there, also from one run to the next."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Origin:
    """Which file of which server a part belongs to.

    Args:
        validator: what the server itself calls this version of the file (a strong ETag, else the time of its last
            change); empty if it does not say.
        num_bytes: of the whole file; `None` if the server does not say.
    """

    url: str
    validator: str = ""
    num_bytes: int | None = None


class Partial:
    """What is there of `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.partial")
        self._about = target.with_name(f"{target.name}.partial.json")

    @property
    def num_bytes(self) -> int:
        """How much is there."""
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    @property
    def origin(self) -> Origin | None:
        """Where it comes from; `None` if that is not known."""
        try:
            return Origin(**json.loads(self._about.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, origin: Origin) -> None:
        """Throw away what is there, and note what will come."""
        self.remove()
        # In this order: what is there without a note of its origin is never gone on with.
        self.path.touch()
        self._about.write_text(json.dumps(asdict(origin)))

    def open(self) -> BinaryIO:
        """The file, to be gone on with at its end."""
        return open(self.path, "ab")

    def finish(self) -> None:
        """Give the whole file its name. Who looks there finds all of it or what was there before."""
        with open(self.path, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        self._about.unlink(missing_ok=True)

    def remove(self) -> None:
        self._about.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
