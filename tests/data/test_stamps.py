"""Digests of files that have not changed, kept in a database that may fail in any way."""

import sqlite3
import subprocess
import sys
import time

import pytest

from transferkit.data import stamps as stamps_module
from transferkit.data.folder_source import file_stamp
from transferkit.data.stamps import STAMPS_FILE
from transferkit.data.stamps import Stamps as PlainStamps

NOW_NS = 1_700_000_000 * 10**9


def stamp_of(number, age_s=10.0, written_s=10.0):
    """Of a file that has been dated `age_s` ago and written to `written_s` ago."""
    dated_ns, written_ns = (NOW_NS - int(ago_s * 1e9) for ago_s in (age_s, written_s))
    return f"/photos/{number}.jpg\x00100\x00{number}\x00{dated_ns}\x00{written_ns}"


def files_of(numbers, **settings):
    return [(stamp_of(number, **settings), bytes([number % 256]) * 32) for number in numbers]


class Stamps(PlainStamps):
    """With stamps in the place of their keys."""

    def find(self, stamps):
        return super().find(self.keys(stamps, taken_ns=NOW_NS))

    def record(self, files, *, taken_ns=NOW_NS):
        keys = self.keys([stamp for stamp, _ in files], taken_ns=taken_ns)
        super().record([(key, digest) for key, (_, digest) in zip(keys, files, strict=True) if key])


def test_recorded_files_are_known_and_others_not(tmp_path):
    Stamps(tmp_path, "a").record(files_of([1, 2]))

    found = Stamps(tmp_path, "a").find([stamp_of(2), None, stamp_of(3), stamp_of(1)])

    assert found == [b"\2" * 32, None, None, b"\1" * 32]


def test_any_number_of_files_is_found(tmp_path):
    stamps = Stamps(tmp_path, "a")
    stamps.record(files_of(range(1234)))

    found = stamps.find([stamp_of(number) for number in range(1234)])

    assert found == [bytes([number % 256]) * 32 for number in range(1234)]


@pytest.mark.parametrize(
    ("age_s", "known"), [(10, True), (2, True), (1.99, False), (0, False), (-3600, False)], ids=str
)
@pytest.mark.parametrize("time", ["age_s", "written_s"])
def test_file_that_had_just_changed_is_not_recorded(tmp_path, age_s, known, time):
    Stamps(tmp_path, "a").record(files_of([1], **{time: age_s}))

    assert (Stamps(tmp_path, "a").find([stamp_of(1, **{time: age_s})]) != [None]) == known


def test_file_of_a_date_before_1970_is_guarded_by_the_time_of_writing(tmp_path):
    dated = {"age_s": 2e9}

    assert Stamps(tmp_path, "a").keys([stamp_of(1, **dated)], taken_ns=NOW_NS) != [None]
    assert Stamps(tmp_path, "a").keys([stamp_of(1, **dated, written_s=0)], taken_ns=NOW_NS) == [None]


def test_stamp_of_a_real_file_tells_its_time(tmp_path):
    (tmp_path / "new\nline.jpg").write_bytes(b"x")
    stamp, stamps = file_stamp(tmp_path / "new\nline.jpg"), PlainStamps(tmp_path, "a")

    young = stamps.keys([stamp], taken_ns=time.time_ns())
    settled = stamps.keys([stamp], taken_ns=time.time_ns() + 3 * 10**9)

    assert young == [None]
    assert settled != [None]


def test_stamp_that_is_no_file_s_is_recorded(tmp_path):
    Stamps(tmp_path, "a").record([("example 7 of flowers", bytes(32))])

    assert Stamps(tmp_path, "a").find(["example 7 of flowers"]) == [bytes(32)]


def test_files_are_known_for_what_they_fulfilled_alone(tmp_path):
    Stamps(tmp_path, "limit 100").record(files_of([1]))

    assert Stamps(tmp_path, "limit 50").find([stamp_of(1)]) == [None]


def test_looking_makes_no_file(tmp_path):
    assert Stamps(tmp_path / "home", "a").find([stamp_of(1)]) == [None]
    Stamps(tmp_path / "home", "a").record([])

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database" * 200, None], ids=["empty", "foreign", "damaged"])
def test_damaged_database_is_made_anew(tmp_path, content):
    stamps = Stamps(tmp_path, "a")
    stamps.record(files_of(range(300)))
    good = (tmp_path / STAMPS_FILE).read_bytes()
    (tmp_path / STAMPS_FILE).write_bytes(good[:5000] + bytes(len(good) - 5000) if content is None else content)

    assert set(stamps.find([stamp_of(number) for number in range(300)])) <= {None}
    for _ in range(2):
        stamps.record(files_of([1]))

    assert stamps.find([stamp_of(1)]) == [b"\1" * 32]


@pytest.mark.parametrize("obstacle", ["folder", "file", "table"])
def test_database_that_cannot_be_used_is_done_without(tmp_path, obstacle):
    home = tmp_path / "home"
    if obstacle == "file":
        home.write_text("")
    else:
        home.mkdir()
    if obstacle == "folder":
        (home / STAMPS_FILE).mkdir()
    if obstacle == "table":
        database = sqlite3.connect(home / STAMPS_FILE)
        database.execute("CREATE TABLE files (something)")
        database.close()

    Stamps(home, "a").record(files_of([1]))

    assert Stamps(home, "a").find([stamp_of(1)]) == [None]


def test_locked_database_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps_module, "_WAIT_S", 0.05)
    stamps = Stamps(tmp_path, "a")
    stamps.record(files_of([1]))
    other = sqlite3.connect(tmp_path / STAMPS_FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    stamps.record(files_of([2]))
    found = stamps.find([stamp_of(1)])
    other.close()

    assert found == [None]
    assert stamps.find([stamp_of(1), stamp_of(2)]) == [b"\1" * 32, None]


def test_oldest_records_go_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps_module, "_MAX_FILES", 10)
    stamps = Stamps(tmp_path, "a")
    for start in range(0, 30, 5):
        stamps.record(files_of(range(start, start + 5)))

    found = stamps.find([stamp_of(number) for number in range(30)])

    assert [number for number, digest in enumerate(found) if digest] == list(range(20, 30))


def test_processes_that_record_at_once_lose_nothing(tmp_path):
    script = f"""
import sys
from pathlib import Path
from transferkit.data.stamps import Stamps
first = int(sys.argv[1])
for number in range(first, first + 40):
    key = bytes([number]) * 16
    Stamps(Path({str(tmp_path)!r}), "a").record([(key, bytes([number]) * 32)])
"""
    children = [subprocess.Popen([sys.executable, "-c", script, str(first)]) for first in (0, 40, 80)]
    for child in children:
        assert child.wait(timeout=60) == 0

    found = PlainStamps(tmp_path, "a").find([bytes([number]) * 16 for number in range(120)])

    assert found == [bytes([number]) * 32 for number in range(120)]
