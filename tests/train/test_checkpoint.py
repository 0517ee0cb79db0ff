"""A checkpoint is whole or not there and gives back every bit; the one before survives what happens to the next."""

import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from transferkit.errors import CheckpointError
from transferkit.train.checkpoint import Checkpoints

# Every kind of array that a run's state may hold, and then some.
ARRAYS = {
    "block_1/conv/kernel": np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32),
    "not numbers": np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324]),
    "0-d": np.array(3.5, np.float32),
    "empty": np.zeros((0, 7), np.float16),
    "steps": np.array(2**62 + 1, np.int64),
    "flags": np.array([True, False]),
    "generator": np.array([2**32 - 1, 0], np.uint32),
    "pixels": np.arange(256, dtype=np.uint8),
    "bfloat16": np.array([1.0, np.nan, -0.0, 3e38], ml_dtypes.bfloat16),
    "bfloat16 0-d": np.array(0.1, ml_dtypes.bfloat16),
    "float8": np.array([[0.5, 448.0]], ml_dtypes.float8_e4m3fn),
    "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "every other": np.arange(12, dtype=ml_dtypes.bfloat16)[::2],
    "meta": np.zeros(1),
    "a": np.ones(1),
    "a.npy": np.full(1, 2.0),
    "../up": np.full(1, 3.0),
    "Größe/日本": np.full(1, 4.0),
}
# Writes checkpoints one after the other; each holds arrays that follow from its number.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from transferkit.train.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
saved = checkpoints.latest()
number = saved.meta["number"] if saved else 0
while True:
    number += 1
    draw = np.random.default_rng(number)
    checkpoints.write({"number": number}, {f"w/{i}": draw.normal(size=20_000) for i in range(3)})
    print(number, flush=True)
"""


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bits(array: np.ndarray) -> tuple:
    return array.dtype, array.shape, array.tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_bit_for_bit(name, checkpoints):
    checkpoints.write({}, ARRAYS)

    assert bits(checkpoints.latest().arrays[name]) == bits(ARRAYS[name])


def test_names_come_back_in_their_order(checkpoints):
    checkpoints.write({}, ARRAYS)

    assert list(checkpoints.latest().arrays) == list(ARRAYS)


def test_an_array_that_came_back_can_be_changed(checkpoints):
    checkpoints.write({}, ARRAYS)
    saved = checkpoints.latest()

    for array in saved.arrays.values():
        array[...] = 0


def test_meta_comes_back(checkpoints):
    meta = {"phase": 1, "loss": 0.1 + 0.2, "best": None, "rows": [{"name": "Größe", "val_loss": float("inf")}]}

    checkpoints.write(meta, {})

    assert checkpoints.latest().meta == meta


def test_objects_are_refused_since_reading_them_would_run_code(checkpoints):
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoints.write({}, {"object": np.array([{}], object)})

    assert names(checkpoints.folder) == []


def test_a_checkpoint_opens_with_numpy_alone(checkpoints):
    checkpoints.write({}, {"conv/kernel": np.arange(3)})

    with np.load(checkpoints.folder / "checkpoint-000001.npz") as file:
        np.testing.assert_array_equal(file["arrays/conv/kernel"], np.arange(3))


def test_nothing_written_is_nothing_found(checkpoints):
    assert checkpoints.latest() is None


def test_the_last_two_stay_and_the_newest_is_found(checkpoints):
    for step in range(12):
        checkpoints.write({"step": step}, {})

    assert names(checkpoints.folder) == ["checkpoint-000011.npz", "checkpoint-000012.npz"]
    assert checkpoints.latest().meta == {"step": 11}


def test_numbers_go_on_in_the_next_process_and_beyond_their_width(checkpoints):
    checkpoints.write({"step": 0}, {})
    (checkpoints.folder / "checkpoint-000001.npz").rename(checkpoints.folder / "checkpoint-999999.npz")

    Checkpoints(checkpoints.folder).write({"step": 1}, {})

    assert names(checkpoints.folder) == ["checkpoint-1000000.npz", "checkpoint-999999.npz"]
    assert checkpoints.latest().meta == {"step": 1}


def test_remove_leaves_nothing(checkpoints):
    checkpoints.write({}, ARRAYS)

    checkpoints.remove()
    checkpoints.remove()

    assert not checkpoints.folder.exists()


def test_leftovers_of_killed_processes_go_with_the_next_write(checkpoints):
    checkpoints.write({}, {})
    (checkpoints.folder / ".checkpoint-000002.npz.partial").write_bytes(b"half")
    (checkpoints.folder / "notes.txt").write_text("somebody's own")

    assert checkpoints.latest() is not None
    checkpoints.write({}, {})

    assert names(checkpoints.folder) == ["checkpoint-000001.npz", "checkpoint-000002.npz", "notes.txt"]


def two_written(checkpoints) -> bytes:
    """The bytes of the second."""
    for step in range(2):
        checkpoints.write({"step": step}, {"w/kernel": np.arange(5.0) + step, "w/bias": np.arange(3)})
    return (checkpoints.folder / "checkpoint-000002.npz").read_bytes()


def test_a_torn_checkpoint_is_passed_over_wherever_it_ends(checkpoints, caplog):
    whole = two_written(checkpoints)

    for length in range(len(whole)):
        (checkpoints.folder / "checkpoint-000002.npz").write_bytes(whole[:length])
        assert checkpoints.latest().meta == {"step": 0}, length

    assert "checkpoint-000002.npz is damaged" in caplog.text


def test_one_changed_byte_anywhere_never_changes_what_is_read(checkpoints):
    whole = two_written(checkpoints)

    found = set()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        (checkpoints.folder / "checkpoint-000002.npz").write_bytes(damaged)
        saved = checkpoints.latest()
        step = saved.meta["step"]
        found.add(step)
        # Bytes that nobody reads, such as dates, may change.
        assert bits(saved.arrays["w/kernel"]) == bits(np.arange(5.0) + step), place
        assert bits(saved.arrays["w/bias"]) == bits(np.arange(3)), place

    assert found == {0, 1}


def test_with_all_damaged_nothing_is_found(checkpoints):
    two_written(checkpoints)
    for path in checkpoints.folder.iterdir():
        path.write_bytes(b"no zip")

    assert checkpoints.latest() is None


def test_a_damaged_checkpoint_does_not_count_as_one_of_the_two(checkpoints):
    two_written(checkpoints)
    (checkpoints.folder / "checkpoint-000002.npz").write_bytes(b"no zip")
    again = Checkpoints(checkpoints.folder)
    assert again.latest().meta == {"step": 0}

    again.write({"step": 1}, {})
    max(checkpoints.folder.iterdir()).write_bytes(b"no zip")

    assert Checkpoints(checkpoints.folder).latest().meta == {"step": 0}


def test_a_writer_killed_at_any_moment_leaves_its_last_checkpoint_whole(tmp_path):
    draw, reached = np.random.default_rng(0), 0

    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        first = int(writer.stdout.readline())
        time.sleep(draw.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        reported = [first, *map(int, writer.communicate()[0].split())]

        assert first == reached + 1
        saved = Checkpoints(tmp_path).latest()
        reached = saved.meta["number"]
        # The last may have been whole already when the kill kept it from being reported.
        assert reached - reported[-1] in (0, 1)
        expected = np.random.default_rng(reached)
        for index in range(3):
            np.testing.assert_array_equal(saved.arrays[f"w/{index}"], expected.normal(size=20_000))
        # Two, and for a moment a third and the beginning of a fourth.
        assert len(names(tmp_path)) <= 4


def test_a_full_disk_is_a_clear_error_and_leaves_the_earlier_ones(checkpoints):
    for step in range(2):
        checkpoints.write({"step": step}, {"w": np.zeros(10)})
    before = {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    for limit in (0, 100, 1_000_000, 3_999_999, 4_000_100):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(CheckpointError) as caught:
                checkpoints.write({"step": 2}, {"w": np.ones(500_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        assert {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()} == before, limit

    assert str(checkpoints.folder) in str(caught.value)
    assert "4.0 MB" in str(caught.value)
    assert "give the same command again" in str(caught.value)
    checkpoints.write({"step": 2}, {"w": np.ones(500_000)})
    assert checkpoints.latest().meta == {"step": 2}


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(CheckpointError, match="cannot be written to .*file/checkpoints"):
        Checkpoints(tmp_path / "file" / "checkpoints").write({}, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a read-only folder")
def test_a_read_only_folder_is_a_clear_error_and_can_still_be_read(checkpoints):
    checkpoints.write({"step": 0}, {})
    folder = str(checkpoints.folder)
    mount = subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no mounts here: {mount.stderr.strip()}")

    try:
        with pytest.raises(CheckpointError, match="Read-only file system"):
            checkpoints.write({"step": 1}, {})
        found = checkpoints.latest()
    finally:
        subprocess.run(["umount", folder], check=True)

    assert found.meta == {"step": 0}
    assert names(checkpoints.folder) == ["checkpoint-000001.npz"]


def test_an_interrupted_write_leaves_no_trace(checkpoints):
    class Interrupting(dict):
        def items(self):
            yield "first", np.zeros(3)
            raise KeyboardInterrupt

    checkpoints.write({"step": 0}, {})

    with pytest.raises(KeyboardInterrupt):
        checkpoints.write({"step": 1}, Interrupting(first=np.zeros(3)))

    assert names(checkpoints.folder) == ["checkpoint-000001.npz"]


def test_writing_needs_no_second_copy_in_memory(checkpoints):
    arrays = {str(number): np.zeros(10_000_000, np.float32) for number in range(3)}  # 120 MB

    tracemalloc.start()
    checkpoints.write({}, arrays)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()

    # NumPy writes pieces of 16 MB, and holds two at a time.
    assert peak_mb < 40


def test_array_under_two_names_is_written_once_and_read_under_both(checkpoints):
    array = np.arange(100_000.0)

    checkpoints.write({}, {"weights/w": array, "best/w": array, "best_of_phase/w": array.copy()})

    (path,) = checkpoints.folder.iterdir()
    assert 2 * array.nbytes <= path.stat().st_size < 2.1 * array.nbytes
    assert all(bits(one) == bits(array) for one in checkpoints.latest().arrays.values())
    assert len(checkpoints.latest().arrays) == 3
