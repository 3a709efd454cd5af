"""Sampling: from logits to the next token, the same on every platform.

    Sampling      settings, checked and immutable            settings.py
    Sampler       draws tokens, the state of one sequence    sampler.py
    SamplerState  a snapshot of a Sampler                    sampler.py
    LogProbs      log-probabilities for details              logprobs.py

NumPy comes with the first logits (chain.py), not with the settings.

Not here: which tokens end a generation, stop strings (edgeq.stop), text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.sampling.sampler import Sampler, SamplerState
from edgeq.sampling.settings import Sampling

if TYPE_CHECKING:
    from edgeq.sampling.logprobs import LogProbs

__all__ = ["LogProbs", "Sampler", "SamplerState", "Sampling"]


def __getattr__(name: str) -> Any:
    if name == "LogProbs":
        from edgeq.sampling.logprobs import LogProbs

        return LogProbs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
