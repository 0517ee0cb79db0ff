"""Reads the tensors of a PyTorch file in the legacy format, without PyTorch and without running the pickles in it.

`torch.save` wrote this format up to PyTorch 1.5: four pickles (magic number, format version, byte order and the
state dict), a fifth with the order of the storages, then each storage as an item count and raw items. In the state dict
a tensor is a view (offset, shape, strides) of a storage.

A pickle is a program. `pickle.Unpickler` with a restricted `find_class` still sets attributes, calls constructors and
sizes its memo as the file says (ten bytes can take gigabytes). So the opcodes are only *listed*, by `pickletools`, and
the few that describe tensors are followed here, on plain values: nothing is imported, called or set.

Source: `_legacy_save` and `_legacy_load`, https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

import io
import math
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from transferkit.errors import WeightsError

_MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
_FORMAT_VERSION: Final = 1001
_ZIP_START: Final = b"PK\x03\x04"
_MAX_DIMENSIONS: Final = 8  # a convolution's kernel has 4

_ORDERED_DICT: Final = "collections.OrderedDict"
_REBUILD_TENSOR: Final = "torch._utils._rebuild_tensor_v2"
_DTYPES: Final = {
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.LongStorage": np.dtype("<i8"),
}
_KNOWN_NAMES: Final = frozenset((_ORDERED_DICT, _REBUILD_TENSOR, *_DTYPES))


def read_torch_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a legacy PyTorch file by name, in the file's order, as read-only views with the file's strides.

    Raises:
        WeightsError: the file cannot be opened, is of another format, is cut short, holds anything but tensors (named
            in the message), or a tensor reaches outside its storage.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith(_ZIP_START):
        raise WeightsError(
            f"{path}: is in PyTorch's zip format, and only the legacy format is read; save it again with "
            "torch.save(..., _use_new_zipfile_serialization=False)"
        )
    try:
        return _tensors(io.BytesIO(content))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (ValueError, TypeError, LookupError) as error:  # what a damaged pickle makes of `pickletools` and of us
        raise WeightsError(f"{path}: is not a complete PyTorch file in the legacy format ({error})") from error


@dataclass(frozen=True, slots=True)
class _Name:
    """A function or class that the pickle asks for; it stays a name."""

    text: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype
    num_items: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage; offset and strides count items."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensors(stream: io.BytesIO) -> dict[str, np.ndarray]:
    if _PickleReader(stream).read() != _MAGIC_NUMBER:
        raise WeightsError("is not a PyTorch file in the legacy format (wrong magic number)")
    if (version := _PickleReader(stream).read()) != _FORMAT_VERSION:
        raise WeightsError(f"has an unknown format version ({_shown(version)}, not {_FORMAT_VERSION})")
    system = _PickleReader(stream).read()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError("was not written on a little-endian machine")

    reader = _PickleReader(stream)
    tensors = reader.read()
    if not isinstance(tensors, dict):
        raise WeightsError(f"holds {_shown(tensors)}, not a state dict")
    keys = _PickleReader(stream).read()
    if not isinstance(keys, list) or set(keys) != set(reader.storages):
        raise WeightsError("lists other storages than its tensors use")
    contents = {key: _read_storage(stream, reader.storages[key]) for key in keys}

    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, _Tensor):
            raise WeightsError(f"{name!r} is {_shown(tensor)}, not a tensor")
        arrays[name] = _view(name, tensor, contents[tensor.storage.key])
    return arrays


def _read_storage(stream: io.BytesIO, storage: _Storage) -> bytes:
    num_items = int.from_bytes(stream.read(8), "little")
    num_bytes = num_items * storage.dtype.itemsize
    if num_items != storage.num_items or num_bytes > stream.getbuffer().nbytes - stream.tell():
        raise WeightsError(f"is cut short or damaged in storage {storage.key!r}")
    return stream.read(num_bytes)


def _view(name: str, tensor: _Tensor, content: bytes) -> np.ndarray:
    """One tensor. Checked with Python's integers: NumPy's own check of the strides overflows at 64 bits."""
    dtype, num_items = tensor.storage.dtype, tensor.storage.num_items
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    # The second condition: strides of 0 would make any number of items out of one.
    if min(tensor.shape, default=1) < 1 or math.prod(tensor.shape) > num_items or last >= num_items:
        raise WeightsError(f"tensor {name!r} is empty or reaches outside its storage of {num_items} items")
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    return np.ndarray(tensor.shape, dtype, buffer=content, offset=tensor.offset * dtype.itemsize, strides=strides)


class _PickleReader:
    """Follows one pickle of a stream (protocol 2, PyTorch's default) on plain values and refuses all but tensors.

    Only text is ever a key, and no message shows a container: a pickle can build one that takes for ever to hash or
    show.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        self.storages: dict[str, _Storage] = {}
        self._stream = stream
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def read(self) -> object:
        """The value that the pickle describes; the stream then stands behind it."""
        for opcode, argument, _ in pickletools.genops(self._stream):
            self._follow(opcode.name, argument)
        (value,) = self._stack
        return value

    def _follow(self, opcode: str, argument) -> None:
        stack = self._stack
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(opcode[-1]))))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(_known_name(argument))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                stack.append(_reduced(*self._pop(2)))
            case "BUILD":
                stack.pop()  # attributes of the state dict: versions of its modules
            case _:
                raise WeightsError(f"holds the pickle opcode {opcode}, which a file of tensors does not need")

    def _pop(self, count: int) -> list:
        if len(self._stack) < count:
            raise IndexError("a pickle takes more than it put down")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _pop_to_mark(self) -> list:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _extend(self, values: list) -> None:
        self._top(list).extend(_text(value) for value in values)

    def _set_items(self, values: list) -> None:
        target = self._top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_text(key)] = value

    def _top(self, kind: type):
        if not isinstance(top := self._stack[-1], kind):
            raise TypeError(f"{_shown(top)} where a pickle needs a {kind.__name__}")
        return top

    def _storage(self, identifier: object) -> _Storage:
        match identifier:
            case ("storage", _Name(text=name), str(key), str(_), int(num_items), None) if name in _DTYPES:
                storage = _Storage(key, _DTYPES[name], num_items)
            case _:
                raise WeightsError("refers to something that is not a storage of numbers")
        if num_items < 0 or self.storages.setdefault(key, storage) != storage:
            raise WeightsError(f"describes storage {key!r} in two ways, or with a negative size")
        return storage


def _known_name(module_and_name: str) -> _Name:
    name = module_and_name.replace(" ", ".", 1)
    if name not in _KNOWN_NAMES:
        raise WeightsError(f"asks for {name!r}, which a file of tensors does not need; refused, nothing was run")
    return _Name(name)


def _reduced(function: object, arguments: object) -> object:
    """What calling `function` would have given; the only two calls there are."""
    match function, arguments:
        case _Name(text=name), () if name == _ORDERED_DICT:
            return {}
        case _Name(text=name), (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), {}) if (
            name == _REBUILD_TENSOR
        ):
            numbers = (offset, *shape, *strides)
            counts = all(isinstance(number, int) and number >= 0 for number in numbers)
            if not counts or not len(shape) == len(strides) <= _MAX_DIMENSIONS:
                raise WeightsError("describes a tensor by something else than a few whole numbers from 0")
            return _Tensor(storage, offset, shape, strides)
        case _:
            raise WeightsError(f"calls {_shown(function)} in a way that describes no tensor; refused, nothing was run")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise WeightsError(f"names something by {_shown(value)}, not by text")
    return value


def _shown(value: object) -> str:
    """A value in a message: its kind, with its text only where that is short to write."""
    return repr(value.text) if isinstance(value, _Name) else f"a value of type {type(value).__name__}"
