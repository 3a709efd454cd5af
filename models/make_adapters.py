"""Makes the golden logits of the tiny adapters: `python -m models.make_adapters` from the root of the repository.

Needs torch, transformers and peft (pip install torch==2.13.0 transformers peft==0.21.2), which load each as they would
load any. One file of all goes to models/golden/adapters.npz.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from numpy.typing import NDArray

from edgeq.convert.safetensors import read
from models import checkpoints
from models.checkpoints import adapters


def logits(name: str) -> NDArray[np.float32]:
    """PEFT's logits for one adapter on its checkpoint, in float32."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, base = Path(scratch) / "adapter", Path(scratch) / "base"
        spec = checkpoints.write(adapters.write(name, folder).checkpoint, base)
        options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
        model = transformers.AutoModelForCausalLM.from_pretrained(base, **options)
        adapted = peft.PeftModel.from_pretrained(model, folder).float().eval()
        there = {n.replace(".default", "") for n, _ in adapted.named_parameters() if ".lora_" in n}
        wanted = {tensor.name for tensor in read(folder / "adapter_model.safetensors")}
        if there != wanted:
            raise ValueError(f"{name}: PEFT reads it otherwise: {there ^ wanted}")
        with torch.no_grad():
            ids = torch.tensor([checkpoints.ids(spec)[: adapters.TOKENS]])
            found: NDArray[np.float32] = adapted(ids, use_cache=False).logits[0].numpy()
        return found


def main() -> None:
    """Writes them all."""
    checkpoints.write_golden(adapters.GOLDEN, ((name, logits(name)) for name in adapters.ADAPTERS))


if __name__ == "__main__":
    main()
