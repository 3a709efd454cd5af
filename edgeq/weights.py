"""The tensors of a model file as architectures and backends want them: checked against the program that reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeq.errors import ModelError, shown
from edgeq.ops import Embed, Op
from edgeq.program import Program
from edgeq.quants import FORMATS

if TYPE_CHECKING:
    import numpy as np

    from edgeq.gguf import GGUFFile, Tensor

# Tensors that some converters write and that change nothing: the rotary frequencies that every runtime computes itself.
IGNORED = ("attn.rotary_emb.inv_freq", "attn_rot_embd.weight", "rope_freqs.weight")


class MemoryTensor:
    """A float32 tensor in memory, with what backends ask of one in the file."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        import numpy as np

        kept = np.array(array, np.float32, order="C")  # its own, so that nobody changes it under a running model
        kept.flags.writeable = False
        self.name, self.format, self.shape = name, FORMATS["F32"], kept.shape
        self.data = kept.reshape(-1, kept.shape[-1]).view(np.uint8)  # [rows, bytes of a row]
        self.raw = kept.data.cast("B")
        self.nbytes, self.address = kept.nbytes, int(kept.ctypes.data)


class Weights:
    """Tensors by GGUF name over the mapped file, and in `memory` those that adapters bring. Satisfies what
    architectures and backends ask for."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.memory: dict[str, MemoryTensor] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.file.tensors or name in self.memory

    def __getitem__(self, name: str) -> Tensor | MemoryTensor:
        return self.memory[name] if name in self.memory else self.file.tensors[name]

    def digest(self) -> str:
        """Names what is in memory, shapes and numbers: "" for nothing."""
        if not self.memory:
            return ""
        import hashlib

        made = hashlib.sha256()
        for name, tensor in self.memory.items():
            made.update(repr((name, tensor.shape)).encode("utf-8", "surrogatepass"))
            made.update(tensor.raw)
        return made.hexdigest()

    def values(self, name: str, length: int) -> list[float]:
        """The numbers of a short vector. Raises ModelError unless it is one of `length`."""
        tensor = self[name]
        if tensor.shape != (length,):
            raise ModelError(f"tensor {shown(name)}: shape {list(tensor.shape)}, expected [{length}]")
        if tensor.format.name == "F32":  # as they all are: nothing else of a start needs NumPy
            return list(struct.unpack(f"<{length}f", tensor.raw))
        from edgeq import quants

        found: list[float] = quants.dequantize(tensor.data, tensor.format).reshape(-1).tolist()
        return found

    def mappings(self) -> Iterator[tuple[int, int]]:
        """Address and size in bytes of every mapped part."""
        for part in self.file.parts:
            yield part.address, part.header.data_end

    def formats(self, program: Program) -> frozenset[str]:
        """Formats of the tensors that linears and embeddings of the program read."""
        return frozenset(self[ref.name].format.name for ref in program.tensors if ref.values is None)

    def vocabulary(self) -> int:
        """Rows of the token embedding. Raises ModelError if it is missing or no matrix."""
        if "token_embd.weight" not in self:
            raise ModelError("tensor token_embd.weight is missing")
        shape = self["token_embd.weight"].shape
        if len(shape) != 2:
            raise ModelError(f"tensor token_embd.weight: shape {list(shape)}, expected [vocabulary, width]")
        return int(shape[0])

    def check(self, program: Program) -> None:
        """Every tensor of the program is there, with the wanted shape and a format that ops read; none is left over."""
        for ref in program.tensors:
            if ref.values is not None:
                continue
            if ref.name not in self:
                raise ModelError(f"tensor {ref.name} is missing; expected shape {list(ref.shape)}")
            tensor = self[ref.name]
            if tensor.shape != ref.shape:
                raise ModelError(f"tensor {ref.name}: shape {list(tensor.shape)}, expected {list(ref.shape)}")
        for op in program.ops:
            self._check_formats(program, op)
        used = {ref.name for ref in program.tensors}
        for name in self.file.tensors:
            if name not in used and not name.endswith(IGNORED) and not name.startswith("rope_factors_"):
                raise ModelError(
                    f"tensor {shown(name)} is not part of this architecture as edgeq knows it; leaving it out would "
                    "run another model"
                )

    def _check_formats(self, program: Program, op: Op) -> None:
        for handle in op.handles("Weight"):
            ref = program.tensors[handle]
            if ref.values is not None:
                continue
            fmt = self[ref.name].format
            if not fmt.linear:
                role = "embedding" if isinstance(op, Embed) else "weight" if len(ref.shape) == 2 else "vector"
                raise ModelError(
                    f"tensor {ref.name}: format {fmt.name} cannot be the {role} of a layer; requantize the model"
                )
