"""Sampling: from logits to the next token, the same on every platform.

    Sampling      settings, checked and immutable            settings.py
    Sampler       the chain and the state of one sequence    chain.py
    SamplerState  a snapshot of a Sampler                    chain.py
    LogProbs      log-probabilities for details              logprobs.py

Not here: which tokens end a generation, stop strings (edgeq.stop), text.
"""

from __future__ import annotations

from edgeq.sampling.chain import Sampler, SamplerState
from edgeq.sampling.logprobs import LogProbs
from edgeq.sampling.settings import Sampling

__all__ = ["LogProbs", "Sampler", "SamplerState", "Sampling"]
