"""The store after accidents: torn, damaged or foreign files, and interrupts at any line."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from transferkit.errors import CacheError
from transferkit.store import writer as store_writer
from transferkit.store.rows import RowStore

SHAPE = (3, 5)
ENTRY_BYTES = 36


def open_store(root: Path, name: str = "a") -> RowStore:
    return RowStore(root, {"backbone": name}, shape=SHAPE, dtype="float32")


def digest_of(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def digests_of(numbers) -> list[bytes]:
    return [digest_of(number) for number in numbers]


def rows_of(numbers) -> np.ndarray:
    """Rows that tell their number in every value."""
    numbers = np.array(list(numbers), np.float32).reshape(-1, 1, 1)
    return numbers * 100 + np.arange(15, dtype=np.float32).reshape(1, *SHAPE)


def fill(store: RowStore, numbers) -> None:
    with store.writer() as writer:
        writer.append(digests_of(numbers), rows_of(numbers))


def assert_holds(store: RowStore, numbers) -> None:
    stored = store.read(digests_of(numbers))
    np.testing.assert_array_equal(stored[np.arange(len(stored))], rows_of(numbers))


def num_found(store: RowStore, numbers) -> int:
    return int((store.find(digests_of(numbers)) >= 0).sum())


def test_index_cut_at_any_byte_keeps_what_is_whole_and_can_go_on(tmp_path):
    fill(open_store(tmp_path), range(4))
    whole = (open_store(tmp_path).folder / "index.bin").read_bytes()

    for size in range(64, len(whole)):
        store = open_store(tmp_path)
        (store.folder / "index.bin").write_bytes(whole[:size])
        kept = (size - 64) // ENTRY_BYTES
        assert store.find(digests_of(range(4))).tolist() == [*range(kept), *[-1] * (4 - kept)]
        assert_holds(store, range(kept))
        if size % 11 == 0:
            fill(store, [8, 9])
            assert_holds(open_store(tmp_path), [*range(kept), 8, 9])
            assert (store.folder / "index.bin").stat().st_size == 64 + (kept + 2) * ENTRY_BYTES
            assert (store.folder / "rows.bin").stat().st_size == 64 + (kept + 2) * store.row_bytes
            shutil.rmtree(store.folder)
            fill(open_store(tmp_path), range(4))
            whole = (store.folder / "index.bin").read_bytes()


@pytest.mark.parametrize("num_bytes", [1, 59, 60, 61, 1000])
def test_row_bytes_beyond_the_index_are_cut_off_by_the_next_writer(tmp_path, num_bytes):
    store = open_store(tmp_path)
    fill(store, range(3))
    with open(store.folder / "rows.bin", "ab") as file:
        file.write(b"\xff" * num_bytes)

    fill(open_store(tmp_path), [3])

    assert_holds(open_store(tmp_path), range(4))
    assert (store.folder / "rows.bin").stat().st_size == 64 + 4 * store.row_bytes


@pytest.mark.parametrize("entry", [bytes(ENTRY_BYTES), b"\x01" * ENTRY_BYTES, None], ids=["zeros", "ones", "moved"])
def test_entries_count_up_to_the_first_that_is_not_right(tmp_path, entry):
    store = open_store(tmp_path)
    fill(store, range(6))
    raw = bytearray((store.folder / "index.bin").read_bytes())
    first = 64 + 4 * ENTRY_BYTES
    raw[first : first + ENTRY_BYTES] = raw[64 : 64 + ENTRY_BYTES] if entry is None else entry
    (store.folder / "index.bin").write_bytes(raw)

    before = open_store(tmp_path).find(digests_of(range(6)))
    fill(open_store(tmp_path), [8])
    after = open_store(tmp_path).find(digests_of(range(6)))

    assert before.tolist() == after.tolist() == [0, 1, 2, 3, -1, -1]
    fill(open_store(tmp_path), range(6))
    assert_holds(open_store(tmp_path), [*range(6), 8])


def _cut(name: str, size: int):
    return lambda folder: os.truncate(folder / name, size)


def _remove(name: str):
    return lambda folder: (folder / name).unlink()


def _rewrite(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def _of_another_version(folder: Path) -> None:
    for name in ("rows.bin", "index.bin"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content.replace(b"transferkit rows 1\n", b"transferkit rows 2\n", 1))


def _rows_of_another_store(folder: Path) -> None:
    other = open_store(folder.parent.parent, "another")
    fill(other, range(20, 28))
    shutil.copy(other.folder / "rows.bin", folder / "rows.bin")


def _key_of_another_store(folder: Path) -> None:
    key = json.loads((folder / "key.json").read_text())
    (folder / "key.json").write_text(json.dumps({**key, "key": {"backbone": "another"}}))


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


DAMAGES = {
    "rows too short": _cut("rows.bin", 64 + 7 * 60 + 59),
    "rows empty": _cut("rows.bin", 0),
    "rows missing": _remove("rows.bin"),
    "rows without header": _rewrite("rows.bin", bytes(2000)),
    "rows of another store": _rows_of_another_store,
    "index missing": _remove("index.bin"),
    "index empty": _cut("index.bin", 0),
    "index within the header": _cut("index.bin", 63),
    "index foreign": _rewrite("index.bin", b"x" * 500),
    "key missing": _remove("key.json"),
    "key torn": _cut("key.json", 20),
    "key no text": _rewrite("key.json", b"\xff\xfe\x00"),
    "key of another store": _key_of_another_store,
    "another version": _of_another_version,
    "a file": _a_file,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_store_is_not_trusted_and_built_anew(tmp_path, damage):
    fill(open_store(tmp_path), range(8))
    damage(open_store(tmp_path).folder)

    found = num_found(open_store(tmp_path), range(8))
    fill(open_store(tmp_path), range(2, 9))

    assert found == 0
    assert num_found(open_store(tmp_path), [0, 1]) == 0
    assert_holds(open_store(tmp_path), range(2, 9))


def test_reader_follows_a_store_that_was_removed_and_made_again(tmp_path):
    reader = open_store(tmp_path)
    fill(open_store(tmp_path), range(5))
    old = reader.read(digests_of(range(5)))
    shutil.rmtree(reader.folder)

    fill(open_store(tmp_path), [4, 3, 2, 1, 0])

    assert reader.find(digests_of([4, 0])).tolist() == [0, 4]
    assert_holds(reader, range(5))
    np.testing.assert_array_equal(old[:], rows_of(range(5)))


def test_cache_folder_that_is_a_file_is_an_error_that_helps(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(CacheError) as caught, open_store(tmp_path / "file").writer(num_rows=100):
        pass

    assert str(tmp_path / "file") in str(caught.value)
    assert all(key in str(caught.value) for key in ("cache.folder", "TRANSFERKIT_HOME", "cache.features: none"))


def test_interrupt_at_any_line_of_the_writer_leaves_only_right_rows(tmp_path):
    numbers = range(12)

    for line in range(1, 400):
        store, seen = open_store(tmp_path, str(line)), 0

        def interrupt(frame, event, _, line=line):
            nonlocal seen
            if frame.f_code.co_filename != store_writer.__file__:
                return None
            seen += event == "line"
            if seen == line and event == "line":
                seen += 1
                raise KeyboardInterrupt
            return interrupt

        try:
            with store.writer() as writer:
                sys.settrace(interrupt)
                for start in range(0, 12, 4):
                    writer.append(digests_of(numbers[start : start + 4]), rows_of(numbers[start : start + 4]))
                    writer.flush()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        kept = [number for number in numbers if num_found(store, [number])]
        assert_holds(store, kept)
        fill(store, numbers)
        assert_holds(store, numbers)
        assert (store.folder / "rows.bin").stat().st_size == 64 + 12 * store.row_bytes
        if seen < line:
            break

    assert 40 < line < 399, "every line was reached"
