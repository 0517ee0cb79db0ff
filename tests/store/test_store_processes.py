"""The store between processes: shared, killed, on a disk that is full or read-only. Real processes, real disks."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from transferkit.store.room import make_room
from transferkit.store.rows import RowStore

NUM_ROWS, SHAPE = 800, (64, 8)

# What every child process starts with; a batch has 8 rows of 2 KB.
CHILD = f"""
import hashlib, os, resource, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
from transferkit.errors import CacheError
from transferkit.progress import Quiet
from transferkit.stop import StoppableProgress, on_sigterm
from transferkit.store import writer as store_writer
from transferkit.store.rows import RowStore

store = RowStore(Path(sys.argv[1]), {{"backbone": "a"}}, shape={SHAPE}, dtype="float32")
digests = [hashlib.sha256(str(number).encode()).digest() for number in range({NUM_ROWS})]

def rows_of(numbers):
    return np.array(numbers, np.float32).reshape(-1, 1, 1) + np.arange(512, dtype=np.float32).reshape({SHAPE}) / 1024

def say(*words):
    print(*words, flush=True)

class Said(Quiet):
    def say(self, line):
        say(line)

def append_missing(writer, pause_s=0):
    missing = np.flatnonzero(store.find(digests) < 0)
    for start in range(0, len(missing), 8):
        numbers = missing[start : start + 8]
        writer.append([digests[number] for number in numbers], rows_of(numbers))
        time.sleep(pause_s)
    return len(missing)

def num_right():
    found = np.flatnonzero(store.find(digests) >= 0)
    stored = store.read([digests[number] for number in found])
    assert np.array_equal(stored[:], rows_of(found)), "rows that are not right"
    return len(found)
"""
exec(CHILD.replace("sys.argv[1]", "'/nowhere'"), functions := {})
DIGESTS, rows_of = functions["digests"], functions["rows_of"]


def open_store(root: Path) -> RowStore:
    return RowStore(root, {"backbone": "a"}, shape=SHAPE, dtype="float32")


def right_rows(root: Path) -> int:
    """How many rows there are; each is as it should be."""
    store = open_store(root)
    found = np.flatnonzero(store.find(DIGESTS) >= 0)
    np.testing.assert_array_equal(store.read([DIGESTS[number] for number in found])[:], rows_of(found))
    return len(found)


@pytest.fixture
def start():
    """Starts a child process with a script; none outlives the test."""
    children = []

    def start_child(root: Path, script: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
        child = subprocess.Popen(
            [*prefix, sys.executable, "-c", CHILD + script, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start_child
    for child in children:
        child.kill()
        child.communicate()


def said_by(child: subprocess.Popen) -> list[str]:
    """All lines of a child that ends well."""
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    return out.splitlines()


def line_of(child: subprocess.Popen) -> str:
    return child.stdout.readline().strip()


SLOW_WRITER = """
store_writer._FLUSH_BYTES = 3 * store.row_bytes
with store.writer() as writer:
    say("writing")
    append_missing(writer, pause_s=0.0005)
    say("done")
"""


def test_killed_writer_leaves_only_right_rows_and_the_next_goes_on(tmp_path, start):
    chance, kept = random.Random(), [0]

    for _ in range(6):
        child = start(tmp_path, SLOW_WRITER)
        assert line_of(child) == "writing"
        while child.poll() is None and right_rows(tmp_path) == kept[-1]:
            pass
        time.sleep(chance.uniform(0, 0.005))
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept.append(right_rows(tmp_path))
    said = said_by(start(tmp_path, SLOW_WRITER))

    assert said == ["writing", "done"]
    assert kept == sorted(kept)
    assert 0 < kept[1] < NUM_ROWS, "the first writer was killed while it wrote"
    assert right_rows(tmp_path) == NUM_ROWS
    assert (open_store(tmp_path).folder / "rows.bin").stat().st_size == 64 + NUM_ROWS * open_store(tmp_path).row_bytes


@pytest.mark.parametrize("torn_bytes", [1, 700, 2047])
def test_writer_killed_within_a_row_costs_that_row_alone(tmp_path, start, torn_bytes):
    child = start(
        tmp_path,
        f"""
with store.writer() as writer:
    writer.append(digests[:8], rows_of(range(8)))
    writer.flush()
    writer.append(digests[8:16], rows_of(range(8, 16)))
    os.truncate(store.folder / "rows.bin", 64 + 15 * store.row_bytes + {torn_bytes})
    with open(store.folder / "index.bin", "ab") as index:
        index.write(digests[8][:{torn_bytes % 32}])
    os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    child.wait(timeout=60)

    assert child.returncode == -signal.SIGKILL
    assert right_rows(tmp_path) == 8
    said_by(start(tmp_path, "with store.writer() as writer: append_missing(writer)"))
    assert right_rows(tmp_path) == NUM_ROWS


def test_process_killed_with_the_lock_gives_it_free(tmp_path, start):
    holder = start(tmp_path, 'with store.writer():\n    say("locked")\n    sys.stdin.readline()')
    assert line_of(holder) == "locked"
    waiter = start(
        tmp_path, 'with store.writer(progress=Said(), waiting="waiting") as writer: say("mine", append_missing(writer))'
    )
    assert line_of(waiter) == "waiting"

    holder.send_signal(signal.SIGKILL)

    assert said_by(waiter) == [f"mine {NUM_ROWS}"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_that_waits_ends_at_once_when_told_to_and_leaves_the_other_alone(tmp_path, start, number):
    holder = start(
        tmp_path,
        'with store.writer() as writer:\n    say("locked")\n    sys.stdin.readline()\n    append_missing(writer)',
    )
    assert line_of(holder) == "locked"
    waiter = start(
        tmp_path,
        """
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
try:
    with on_sigterm() as stop, store.writer(progress=StoppableProgress(Said(), stop), waiting="waiting"):
        say("mine")
except KeyboardInterrupt:
    sys.exit(130)
""",
    )
    assert line_of(waiter) == "waiting"

    waiter.send_signal(number)

    assert waiter.wait(timeout=10) == 128 + number
    assert waiter.stdout.read() == ""
    assert said_by(holder) == []
    assert right_rows(tmp_path) == NUM_ROWS


def test_second_process_waits_then_finds_the_rows_and_appends_nothing(tmp_path, start):
    script = """
with store.writer(progress=Said(), waiting="waiting") as writer:
    say("locked")
    sys.stdin.readline()
    say("appended", append_missing(writer))
"""
    first = start(tmp_path, script)
    assert line_of(first) == "locked"
    second = start(tmp_path, script)
    assert line_of(second) == "waiting"

    said = [said_by(child) for child in (first, second)]

    assert said == [[f"appended {NUM_ROWS}"], ["locked", "appended 0"]]
    assert right_rows(tmp_path) == NUM_ROWS


def test_readers_see_right_rows_without_a_lock_while_a_process_writes(tmp_path, start):
    child = start(tmp_path, SLOW_WRITER)
    assert line_of(child) == "writing"

    seen = []
    while child.poll() is None:
        seen.append(right_rows(tmp_path))

    assert seen == sorted(seen)
    assert any(0 < count < NUM_ROWS for count in seen), "nothing was read while it was written"


def test_store_removed_to_make_room_stays_readable_where_it_is_mapped(tmp_path, start):
    reader = start(
        tmp_path,
        """
with store.writer() as writer: append_missing(writer)
stored = store.read(digests)
say("mapped")
sys.stdin.readline()
say(np.array_equal(stored[:], rows_of(range(len(digests)))), store.folder.exists(), store.find(digests).max())
with store.writer() as writer: append_missing(writer)
say(num_right(), np.array_equal(stored[:], rows_of(range(len(digests)))))
""",
    )
    assert line_of(reader) == "mapped"

    make_room(tmp_path, 1, max_gb=1e-6)

    assert said_by(reader) == ["True False -1", f"{NUM_ROWS} True"]


FULL = """
try:
    with store.writer(num_rows=len(digests)) as writer:
        append_missing(writer)
    say("not refused")
except CacheError as error:
    say(str(error).replace("\\n", " "))
say(num_right())
"""


def assert_tells_all(message: str, root: Path, *, full: bool = True) -> None:
    assert str(open_store(root).folder) in message
    assert ("MB are needed" in message) == full
    way_out = "cache.max_gb" if full else "TRANSFERKIT_HOME"
    assert all(key in message for key in ("cache.folder", way_out, "cache.features: none"))


@pytest.mark.parametrize("limit", [64 + 100 * 2048, 64 + 100 * 2048 + 1000])
def test_file_that_may_not_grow_is_an_error_and_what_was_complete_is_kept(tmp_path, start, limit):
    message, kept = said_by(start(tmp_path, f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)" + FULL))

    assert_tells_all(message, tmp_path)
    assert int(kept) == right_rows(tmp_path) == 92  # 12 batches of 8, less the room of their entries
    said_by(start(tmp_path, "with store.writer() as writer: append_missing(writer)"))
    assert right_rows(tmp_path) == NUM_ROWS


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, 0), (63, 0), (64, 0), (64 + 36 * 150, 150), (64 + 36 * 150 + 7, 150)]
)
def test_index_that_may_not_grow_is_an_error_and_its_whole_entries_are_kept(tmp_path, start, limit, expected):
    script = f"""
store = RowStore(Path(sys.argv[1]), {{"backbone": "a"}}, shape=(), dtype="float32")
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        with store.writer() as writer:
            writer.append(digests, np.arange(len(digests), dtype=np.float32))
    except CacheError:
        say("refused")
    found = np.flatnonzero(store.find(digests) >= 0)
    say(len(found), np.array_equal(store.read([digests[number] for number in found])[:], found))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""
    said = said_by(start(tmp_path, script))

    assert said == ["refused", f"{expected} True", f"{NUM_ROWS} True"]


@pytest.fixture
def small_disk(tmp_path):
    """A folder, and the command before a process that sees a disk of 1 MB there; the disk goes with the process."""
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    prefix = ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, str(tmp_path))
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this user may mount no disk, not even a private one")
    return tmp_path, prefix


def test_full_disk_is_an_error_and_the_writer_goes_on_when_there_is_room(small_disk, start):
    root, prefix = small_disk
    bigger = """
subprocess.run(["mount", "-o", "remount,size=4m", sys.argv[1]], check=True)
with store.writer() as writer: say(append_missing(writer))
say(num_right())
"""

    message, kept, appended, right = said_by(start(root, FULL + bigger, prefix))

    assert_tells_all(message, root)
    assert "No space left" in message
    assert 450 < int(kept) < 512
    assert int(kept) + int(appended) == int(right) == NUM_ROWS


def test_read_only_disk_serves_what_it_has_and_refuses_more(small_disk, start):
    root, prefix = small_disk
    script = """
with store.writer() as writer: writer.append(digests[:50], rows_of(range(50)))
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
"""

    message, kept = said_by(start(root, script + FULL, prefix))

    assert_tells_all(message, root, full=False)
    assert "Read-only" in message
    assert kept == "50"


def test_folder_of_another_person_is_an_error_that_helps(start):
    root = Path(tempfile.mkdtemp())  # not below pytest's folders, which other people cannot enter
    try:
        root.chmod(0o555)
        message, kept = said_by(start(root, "if not os.geteuid(): os.seteuid(65534)" + FULL))
    finally:
        root.chmod(0o755)
        shutil.rmtree(root)

    assert_tells_all(message, root, full=False)
    assert "Permission denied" in message
    assert kept == "0"
