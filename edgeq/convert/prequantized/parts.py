"""The parts of a quantized weight: taken out of the raw tensors by name, with their dtype and shape checked."""

from __future__ import annotations

from typing import Any

from edgeq.convert.safetensors import Tensor
from edgeq.errors import ModelError, shown

MAX_SIZE = 1 << 31  # of a group or a block


def take(
    tensors: dict[str, Tensor], name: str, dtypes: tuple[str, ...], shape: tuple[int | None, ...] | None = None
) -> Tensor:
    """Removes and returns a tensor; None in `shape` is any size over 0. ModelError if it is missing or of another
    kind."""
    if name not in tensors:
        raise ModelError(f"tensor {shown(name)} is missing; a quantized weight needs it")
    tensor = tensors.pop(name)
    if tensor.dtype not in dtypes:
        raise ModelError(f"tensor {shown(name)}: {tensor.dtype}, expected {' or '.join(dtypes)}")
    if shape is not None:
        same = len(shape) == len(tensor.shape) and all(
            n == w or (w is None and n > 0) for w, n in zip(shape, tensor.shape)
        )
        if not same:
            wanted = ["over 0" if n is None else n for n in shape]
            raise ModelError(f"tensor {shown(name)}: shape {list(tensor.shape)}, expected {wanted}")
    return tensor


def bases(tensors: dict[str, Tensor], suffix: str) -> list[str]:
    """The names that end with `suffix`, without it."""
    return [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]


def whole(settings: dict[str, Any], key: str, allowed: tuple[int, ...], default: int | None = None) -> int:
    """A whole number of the settings. ModelError if it is none of `allowed`."""
    value = settings.get(key, default)
    if type(value) is not int or value not in allowed:
        raise ModelError(
            f"config.json: {key} of the quantization is {shown(value, 40)}; expected {', '.join(map(str, allowed))}"
        )
    return value


def group_size(settings: dict[str, Any]) -> int:
    """Columns of a group; -1 for all."""
    value = settings.get("group_size", -1)
    if value is None:
        return -1
    if type(value) is not int or not (value == -1 or 0 < value <= MAX_SIZE):
        raise ModelError(f"config.json: group_size is {shown(value, 40)}; expected a number over 0, or -1")
    return value


def groups_of(columns: int, size: int) -> int:
    """How many groups that makes."""
    return 1 if size == -1 else -(-columns // size)
