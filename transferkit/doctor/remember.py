"""Pairs of pictures that look alike, kept between runs: the search takes about as long as decoding small pictures."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from transferkit import __version__
from transferkit.data.decode import DECODE_VERSION
from transferkit.data.lookalikes import LOOKALIKES_VERSION
from transferkit.doctor.duplicates import Pair


def remember_pairs(
    root: Path, digests: Iterable[bytes], about: tuple[object, ...], find: Callable[[], list[Pair]]
) -> list[Pair]:
    """The pairs that an earlier run found among the same pictures, else those that `find` gives.

    Args:
        root: of the cache; where it cannot be used, nothing is kept.
        digests: of the pictures' files, in their order.
        about: what else the pairs depend on.
    """
    key = hashlib.sha256(repr((__version__, DECODE_VERSION, LOOKALIKES_VERSION, *about)).encode())
    for digest in digests:
        key.update(digest)
    path = root / "lookalikes" / f"{key.hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError):  # not there, or not what was written
        return [(int(one), int(other), float(alike)) for one, other, alike in json.loads(path.read_bytes())]
    pairs = find()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".partial", delete=False) as file:
            json.dump(pairs, file)
        os.replace(file.name, path)
    return pairs
