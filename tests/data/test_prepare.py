"""Prepared once: kept where the recipe says, exact, continued, shared, and bounded."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from transferkit.data import appending, prepare, stamps
from transferkit.data.decode import decode_picture
from transferkit.data.folder_source import list_folder
from transferkit.data.prepare import picture_store, prepare_pictures
from transferkit.data.reading import Decoded, DecodedWhenAsked
from transferkit.errors import CacheError, DataError, PictureError
from transferkit.progress import Quiet
from transferkit.recipe.data import DataSpec
from transferkit.recipe.runtime import CacheSpec
from transferkit.recipe.source import FolderSource
from transferkit.store import writer as store_writer
from transferkit.store.room import list_stores
from transferkit.store.rows import StoredRows

SIZE = 24
KINDS = {"disk": StoredRows, "memory": np.ndarray, "none": DecodedWhenAsked}


class Said(Quiet):
    """Keeps what is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


class Watched:
    """A listing of a folder that notes which pictures are read."""

    def __init__(self, folder, **changes):
        self.listing = replace(list_folder(folder), **changes)
        self.read = []
        plain = self.listing.read

        def read(chosen):
            self.read += chosen
            return plain(chosen)

        self.listing = replace(self.listing, read=read)


@pytest.fixture
def old_folder(picture_folder):
    """Drawn pictures whose files count as not changed just now: no test can put back when they were written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps, "_SETTLED_NS", 0)
        yield picture_folder


def spec_of(**settings):
    return DataSpec(source=FolderSource(path="photos"), **{"image_size": SIZE, "cache": "disk", **settings})


def prepared_of(listing, home, *, progress=None, max_gb=20.0, **settings):
    cache = CacheSpec(folder=str(home), max_gb=max_gb)
    return prepare_pictures(listing, spec_of(**settings), cache=cache, progress=progress or Quiet())


def expected_of(folder, **settings):
    """Path and pixels of every picture, decoded one by one."""
    settings = {"size_px": SIZE, "resize": "crop", **settings}
    return {
        picture.path: decode_picture((folder / picture.path).read_bytes(), **settings)
        for picture in list_folder(folder).pictures
    }


def assert_right(prepared, expected):
    assert [picture.path for picture in prepared.pictures] == list(expected)
    assert (prepared.images.shape, prepared.images.dtype) == ((len(expected), SIZE, SIZE, 3), np.uint8)
    assert len(prepared.images) == len(expected)
    np.testing.assert_array_equal(prepared.images[np.arange(len(expected))], np.stack(list(expected.values())))


# What is prepared


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("cache", KINDS)
def test_each_kind_of_cache_gives_the_pixels_of_decode_picture(old_folder, tmp_path, cache, resize):
    expected = expected_of(old_folder, resize=resize)

    prepared = prepared_of(list_folder(old_folder), tmp_path / "home", cache=cache, resize=resize)

    assert isinstance(prepared.images, KINDS[cache])
    assert_right(prepared, expected)
    wanted = np.array([7, 23, 0, 7])
    np.testing.assert_array_equal(prepared.images[wanted], np.stack(list(expected.values()))[wanted])
    np.testing.assert_array_equal(prepared.images[20:], np.stack(list(expected.values()))[20:])
    files = [(old_folder / path).read_bytes() for path in expected]
    assert prepared.digests == tuple(hashlib.sha256(file).digest() for file in files)


@pytest.mark.parametrize("cache", KINDS)
def test_bad_files_are_left_out_with_a_reason_and_shift_nothing(old_folder, tmp_path, cache):
    (old_folder / "class_0" / "0.png").write_bytes(b"")
    (old_folder / "class_1" / "page.jpg").write_text("<html></html>")
    expected = dict(_readable(old_folder))

    for _ in range(2):
        prepared = prepared_of(list_folder(old_folder), tmp_path / "home", cache=cache)

        assert_right(prepared, expected)
        assert [(one.path, one.reason) for one in prepared.skipped] == [
            ("class_0/0.png", "empty file"),
            ("class_1/page.jpg", "not a picture"),
        ]


def _readable(folder):
    for picture in list_folder(folder).pictures:
        with suppress(PictureError):
            yield picture.path, decode_picture((folder / picture.path).read_bytes(), size_px=SIZE, resize="crop")


@pytest.mark.parametrize("cache", KINDS)
def test_file_that_goes_between_listing_and_reading_is_left_out(old_folder, tmp_path, cache):
    listing = list_folder(old_folder)
    (old_folder / "class_2" / "3.png").unlink()

    prepared = prepared_of(listing, tmp_path / "home", cache=cache)

    assert len(prepared.images) == 23
    assert [one.path for one in prepared.skipped] == ["class_2/3.png"]


def test_copies_of_a_file_are_stored_once_and_found_at_each_place(old_folder, tmp_path):
    shutil.copy(old_folder / "class_0" / "3.png", old_folder / "class_1" / "copy.png")

    prepared = prepared_of(list_folder(old_folder), tmp_path / "home")

    assert_right(prepared, expected_of(old_folder))
    assert picture_store(tmp_path / "home", spec_of()).count() == 24


def test_source_that_is_read_in_one_pass_gives_the_same(old_folder, tmp_path):
    watched = Watched(old_folder, any_order=False, stamps=None)

    for cache in ("disk", "memory", "disk"):
        assert_right(prepared_of(watched.listing, tmp_path / "home", cache=cache), expected_of(old_folder))

    assert watched.read == [*range(24)] * 3


def test_source_that_is_read_in_one_pass_cannot_do_without_memory_and_disk(old_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_MEMORY_SHARE", 0)
    watched = Watched(old_folder, any_order=False)

    with pytest.raises(CacheError, match="whenever it is asked for"):
        prepared_of(watched.listing, tmp_path / "home", cache="auto", max_gb=1e-9)


# The second time


def test_second_run_over_unchanged_files_reads_none(old_folder, tmp_path):
    prepared_of(list_folder(old_folder), tmp_path / "home")
    watched, said = Watched(old_folder), Said()

    prepared = prepared_of(watched.listing, tmp_path / "home", progress=said)

    assert watched.read == []
    assert said.lines == ["prepared pictures: all 24 are stored already"]
    assert_right(prepared, expected_of(old_folder))


def test_without_a_cache_the_second_run_reads_no_file_before_it_is_asked_for(old_folder, tmp_path):
    prepared_of(list_folder(old_folder), tmp_path / "home", cache="none")
    watched = Watched(old_folder)

    prepared = prepared_of(watched.listing, tmp_path / "home", cache="none")
    before = list(watched.read)
    prepared.images[np.array([5, 2, 5])]

    assert before == []
    assert sorted(watched.read) == [2, 5]


@pytest.mark.parametrize("keep", ["size", "size and time", "neither"])
def test_changed_file_is_noticed(old_folder, tmp_path, keep):
    prepared_of(list_folder(old_folder), tmp_path / "home")
    changed = old_folder / "class_1" / "4.png"
    before = changed.stat()
    other = (old_folder / "class_2" / "6.png").read_bytes()
    changed.write_bytes(other if keep == "neither" else other.ljust(before.st_size, b"\0"))
    if keep == "size and time":
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched = Watched(old_folder)

    prepared = prepared_of(watched.listing, tmp_path / "home")

    assert set(watched.read) == {12}
    assert_right(prepared, expected_of(old_folder))


def test_file_that_was_just_written_is_read_again(picture_folder, tmp_path):
    prepared_of(list_folder(picture_folder), tmp_path / "home")
    watched = Watched(picture_folder)

    prepared_of(watched.listing, tmp_path / "home")

    assert sorted(watched.read) == [*range(24)]


def test_moved_folder_is_read_but_not_decoded_again(old_folder, tmp_path, monkeypatch):
    prepared_of(list_folder(old_folder), tmp_path / "home")
    moved = old_folder.rename(tmp_path / "moved")
    monkeypatch.setattr("transferkit.data.reading.decode_picture", lambda *_, **__: pytest.fail("decoded again"))

    first, second = Watched(moved), Watched(moved)
    prepared = [prepared_of(one.listing, tmp_path / "home") for one in (first, second)]

    assert sorted(first.read) == [*range(24)]
    assert second.read == []
    monkeypatch.undo()
    assert_right(prepared[0], expected_of(moved))


def test_new_pictures_alone_are_prepared(old_folder, tmp_path):
    prepared_of(list_folder(old_folder), tmp_path / "home")
    shutil.copy(old_folder / "class_0" / "0.png", old_folder / "class_0" / "00.png")
    (old_folder / "class_0" / "00.png").write_bytes((old_folder / "class_0" / "0.png").read_bytes() + b"more")
    watched, said = Watched(old_folder), Said()

    prepared = prepared_of(watched.listing, tmp_path / "home", progress=said)

    assert set(watched.read) == {1}  # after 0.png
    assert said.lines == [
        f"prepared pictures: 24 are stored already, 1 to prepare, 0.0 MB on disk in {tmp_path / 'home'}"
    ]
    assert_right(prepared, expected_of(old_folder))


@pytest.mark.parametrize("changes", [{"image_size": 25}, {"resize": "pad"}, {"max_megapixels": 50.0}])
def test_pictures_of_another_kind_have_a_store_of_their_own(tmp_path, changes):
    assert picture_store(tmp_path, spec_of(**changes)).folder != picture_store(tmp_path, spec_of()).folder


@pytest.mark.parametrize("cache", KINDS)
def test_lower_limit_of_megapixels_refuses_what_a_higher_one_let_in(old_folder, tmp_path, cache):
    prepared_of(list_folder(old_folder), tmp_path / "home", cache=cache)

    prepared = prepared_of(list_folder(old_folder), tmp_path / "home", cache=cache, max_megapixels=0.001)

    assert not prepared.pictures
    assert {one.reason for one in prepared.skipped} == {"0.0 megapixels, over the limit of 0.001"}


def test_file_that_cannot_be_read_is_tried_again(old_folder, tmp_path):
    good = (old_folder / "class_0" / "1.png").read_bytes()
    (old_folder / "class_0" / "1.png").write_bytes(good[:-50])
    first = prepared_of(list_folder(old_folder), tmp_path / "home")
    (old_folder / "class_0" / "1.png").write_bytes(good)

    second = prepared_of(list_folder(old_folder), tmp_path / "home")

    assert [one.reason for one in first.skipped] == ["truncated file"]
    assert_right(second, expected_of(old_folder))


# Interrupted and shared


def test_slow_pictures_are_handed_to_the_store_as_soon_as_fast_ones(monkeypatch):
    now_s, handed_over = [0.0], []
    monkeypatch.setattr(appending, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    writer = SimpleNamespace(append=lambda digests, rows: handed_over.append(len(rows)))

    with appending.appending(writer) as append:
        for number in range(8):
            append(Decoded(bytes([number]), np.zeros((2, 2, 3), np.uint8)))
            now_s[0] += 0.3

    assert handed_over == [5, 3]  # the first after a second


class _Interrupting(Said):
    """Ends the work after some pictures."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def advance(self, count=1, note=""):
        self.after -= count
        if not self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 9, 24])
def test_interrupted_pass_continues(old_folder, tmp_path, after):
    with pytest.raises(KeyboardInterrupt):
        prepared_of(list_folder(old_folder), tmp_path / "home", progress=_Interrupting(after))
    watched, said = Watched(old_folder), Said()

    prepared = prepared_of(watched.listing, tmp_path / "home", progress=said)

    assert set(watched.read) == {*range(after, 24)}
    assert len(watched.read) <= 24 - after + prepare._SAMPLE  # not all are looked at before
    assert after == 24 or f"{after} are stored already, {24 - after} to prepare" in said.lines[0]
    assert_right(prepared, expected_of(old_folder))


PROCESS = """
import sys, time
from pathlib import Path
from transferkit.data import appending, prepare, reading, stamps
from transferkit.data.folder_source import list_folder
from transferkit.progress import Quiet
from transferkit.recipe.data import DataSpec
from transferkit.recipe.runtime import CacheSpec
from transferkit.recipe.source import FolderSource

decode, pause_s, gate = reading.decode_picture, float(sys.argv[3]), Path(sys.argv[4])

class Said(Quiet):
    def say(self, line):
        print(line, flush=True)

def slow(*args, **settings):
    time.sleep(pause_s)
    while not gate.exists():
        time.sleep(0.01)
    return decode(*args, **settings)

reading.decode_picture = slow
appending._CHUNK_BYTES = 1
prepare._RECORD_S = 0
stamps._SETTLED_NS = 0
from transferkit.store import writer
writer._FLUSH_S = 0
spec = DataSpec(source=FolderSource(path="photos"), image_size=24, cache="disk")
found = prepare.prepare_pictures(
    list_folder(Path(sys.argv[1])), spec, cache=CacheSpec(folder=sys.argv[2]), progress=Said()
)
print(len(found.images), found.images[:].sum(), flush=True)
"""


@pytest.fixture
def start(old_folder, tmp_path):
    """Starts another process that prepares the same pictures; none outlives the test."""
    children = []

    def start_child(pause_s=0.0, gate=old_folder):
        command = [sys.executable, "-c", PROCESS, *map(str, (old_folder, tmp_path / "home", pause_s, gate))]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return children[-1]

    yield start_child
    for child in children:
        child.kill()
        child.communicate()


def test_two_processes_at_once_share_the_work(old_folder, tmp_path, start):
    gate = tmp_path / "gate"

    first = start(gate=gate)
    begun = first.stdout.readline()
    second = start(gate=gate)
    waiting = second.stdout.readline()
    gate.touch()
    said = [child.communicate(timeout=60)[0].splitlines() for child in (first, second)]

    assert begun.startswith("prepared pictures: 24 to prepare")
    assert waiting == "another process is preparing the same pictures; waiting for it\n"
    total = sum(int(pixels.sum()) for pixels in expected_of(old_folder).values())
    assert said == [[f"24 {total}"], ["prepared pictures: all 24 are stored already", f"24 {total}"]]
    assert picture_store(tmp_path / "home", spec_of()).count() == 24


def test_killed_pass_continues(old_folder, tmp_path, start):
    child, store = start(0.05), picture_store(tmp_path / "home", spec_of())
    while child.poll() is None and store.count() < 5:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept, watched = store.count(), Watched(old_folder)

    prepared = prepared_of(watched.listing, tmp_path / "home")

    assert 5 <= kept < 24
    assert len(set(watched.read)) <= 24 - kept + 1  # one may be stored and not yet known by its stamp
    assert_right(prepared, expected_of(old_folder))


# Room


def test_disk_need_is_said_before_it_is_taken(old_folder, tmp_path):
    said, there = Said(), []
    said.task = lambda *args: there.append(list_stores(tmp_path / "home")[0].num_bytes) or Quiet().task(*args)

    prepared_of(list_folder(old_folder), tmp_path / "home", progress=said, image_size=128)

    assert said.lines == [f"prepared pictures: 24 to prepare, 1.1 MB on disk in {tmp_path / 'home'}"]
    assert there[0] < 2000  # nothing but the heads of the files


def test_no_room_is_an_error_that_helps(old_folder, tmp_path):
    with pytest.raises(CacheError) as caught:
        prepared_of(list_folder(old_folder), tmp_path / "home", max_gb=1e-5, image_size=128)

    assert "prepared pictures: 1.1 MB have no room in" in str(caught.value)
    assert all(key in str(caught.value) for key in ("cache.max_gb", "cache.folder", "data.cache: memory"))


def test_folder_that_cannot_be_used_is_an_error_that_helps(old_folder, tmp_path):
    (tmp_path / "home").write_text("a file")

    with pytest.raises(CacheError, match=r"(?s)prepared pictures.*cannot be kept here.*data\.cache: none"):
        prepared_of(list_folder(old_folder), tmp_path / "home")


@pytest.mark.parametrize("cache", ["disk", "auto"])
def test_disk_that_fills_up_on_the_way_is_an_error_or_goes_on_in_memory(old_folder, tmp_path, monkeypatch, cache):
    write, written = store_writer._write_at, []

    def full_after_9(file, at, array):
        if str(file.name).endswith("rows.bin"):
            written.append(array)
            if len(written) > 9:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, at, array)

    monkeypatch.setattr(store_writer, "_write_at", full_after_9)
    monkeypatch.setattr(appending, "_CHUNK_BYTES", 1)
    said = Said()

    if cache == "auto":
        prepared = prepared_of(list_folder(old_folder), tmp_path / "home", cache="auto", progress=said)
        assert_right(prepared, expected_of(old_folder))
        assert said.lines[-1].endswith("prepared pictures: 24, 0.0 MB in memory")
        assert "No space left on device" in said.lines[-1]
    else:
        with pytest.raises(CacheError, match=r"(?s)No space left on device.*data\.cache: none"):
            prepared_of(list_folder(old_folder), tmp_path / "home")
    monkeypatch.undo()
    kept, watched = picture_store(tmp_path / "home", spec_of()).count(), Watched(old_folder)
    assert_right(prepared_of(watched.listing, tmp_path / "home"), expected_of(old_folder))
    assert 0 < kept <= 9
    assert kept == 24 - len(set(watched.read))


def test_older_pictures_make_room_for_new_ones(old_folder, tmp_path):
    prepared_of(list_folder(old_folder), tmp_path / "home", image_size=32)
    one_gb = list_stores(tmp_path / "home")[0].num_bytes / 1e9

    prepared = prepared_of(list_folder(old_folder), tmp_path / "home", max_gb=1.2 * one_gb)

    assert_right(prepared, expected_of(old_folder))
    assert [store.folder for store in list_stores(tmp_path / "home")] == [
        picture_store(tmp_path / "home", spec_of()).folder
    ]


def test_auto_takes_the_disk_then_memory_then_neither_and_says_so(old_folder, tmp_path, monkeypatch):
    said, expected = Said(), expected_of(old_folder)
    twice = 2 * sum(pixels.nbytes for pixels in expected.values())

    kinds = []
    for max_gb, free_bytes in ((20.0, 0), (1e-9, twice), (1e-9, twice - 1)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda available=free_bytes: SimpleNamespace(available=available))
        home = tmp_path / str(len(kinds))
        prepared = prepared_of(list_folder(old_folder), home, cache="auto", max_gb=max_gb, progress=said)
        assert_right(prepared, expected)
        kinds.append(type(prepared.images))

    assert kinds == [StoredRows, np.ndarray, DecodedWhenAsked]
    assert len(said.lines) == 3
    assert f"have no room in {tmp_path / '1'} (cache.max_gb: 1e-09, " in said.lines[1]
    assert said.lines[1].endswith(" MB free on that disk); prepared pictures: 24, 0.0 MB in memory")
    assert said.lines[2].endswith("prepared pictures: none are kept, 24 are decoded whenever asked for")


def test_auto_works_where_the_cache_folder_is_a_file(old_folder, tmp_path):
    (tmp_path / "home").write_text("a file")

    prepared = prepared_of(list_folder(old_folder), tmp_path / "home", cache="auto")

    assert isinstance(prepared.images, np.ndarray)
    assert_right(prepared, expected_of(old_folder))


def test_pictures_stay_readable_when_their_store_is_removed(old_folder, tmp_path):
    prepared = prepared_of(list_folder(old_folder), tmp_path / "home")

    shutil.rmtree(tmp_path / "home")

    assert_right(prepared, expected_of(old_folder))


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_file_that_changes_while_it_is_decoded_whenever_asked_for_is_named(old_folder, tmp_path, change):
    prepared = prepared_of(list_folder(old_folder), tmp_path / "home", cache="none")
    file = old_folder / "class_1" / "2.png"
    file.unlink()
    if change == "changed":
        shutil.copy(old_folder / "class_0" / "2.png", file)

    prepared.images[:10]
    with pytest.raises(DataError, match=r"(?s)^class_1/2\.png: .*removed or changed.*resume"):
        prepared.images[np.array([3, 10])]


def test_folder_without_pictures_prepares_none(old_folder, tmp_path):
    listing = list_folder(old_folder).only([])

    for cache in KINDS:
        prepared = prepared_of(listing, tmp_path / "home", cache=cache)
        assert prepared.images.shape == (0, SIZE, SIZE, 3)
        assert prepared.pictures == prepared.digests == prepared.skipped == ()
