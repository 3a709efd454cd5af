"""Makes the golden logits of the tiny checkpoints: `python -m models.make_checkpoints` from the root of the repository.

Needs torch and transformers (pip install torch==2.13.0 transformers), which load each checkpoint as they would load
any. One file of all goes to models/golden/checkpoints.npz.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from models import checkpoints


def logits(name: str) -> NDArray[np.float32]:
    """transformers' logits for one checkpoint, in float32."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        spec = checkpoints.write(name, folder)
        options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager", "output_loading_info": True}
        if "text_config" in spec.config:
            config = transformers.Gemma3TextConfig.from_pretrained(folder)
            options |= {"config": config, "key_mapping": {"^language_model.": ""}}
        cls = transformers.Gemma3ForCausalLM if "text_config" in spec.config else transformers.AutoModelForCausalLM
        model, info = cls.from_pretrained(folder, **options)
        unknown = [k for k in info["unexpected_keys"] if not k.startswith("vision_tower.")]
        if info["missing_keys"] or unknown or info["mismatched_keys"]:
            raise ValueError(f"{name}: transformers reads it otherwise: {info}")
        with torch.no_grad():
            ids = torch.tensor([checkpoints.ids(spec)])
            found: NDArray[np.float32] = model.eval()(ids, use_cache=False).logits[0].numpy()
        return found


def main() -> None:
    """Writes them all."""
    checkpoints.write_golden(checkpoints.GOLDEN, ((name, logits(name)) for name in checkpoints.SPECS))


if __name__ == "__main__":
    main()
