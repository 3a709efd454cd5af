"""The inputs of golden.json: settings, and logits that are bit-identical everywhere.

    python tests/sampling/golden_streams.py > tests/sampling/golden.json

writes that file from the sampler as it is: do so only when the sampler is meant to give other
tokens than before, and say so in the changelog. Logits are sums of hashed bytes (SplitMix64's
finalizer, Steele, Lea, Flood 2014): integers made them, not a library's random numbers.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np

from edgeq.sampling import Sampler, Sampling
from edgeq.sampling.mathfn import exp, log, total

STEPS = 48
TEXTS = ["a", "\n", "b", ":", "c", " d", '"', "e*"]
STREAMS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "greedy": {"temperature": 0},
    "greedy with penalties": {"temperature": 0, "repeat_penalty": 1.3, "frequency_penalty": 0.1},
    "everything open": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0},
    "top-p of all": {"top_k": 0, "top_p": 0.9, "min_p": 0.0, "temperature": 1.3},
    "min-p of all": {"top_k": 0, "top_p": 1.0, "min_p": 0.02, "temperature": 1.5},
    "typical": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 0.6},
    "penalties": {"repeat_penalty": 1.2, "presence_penalty": 0.3, "repeat_last_n": 16},
    "dry": {"dry_multiplier": 0.8, "dry_allowed_length": 1, "top_k": 5},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.08, "min_p": 0.0, "top_k": 100},
    "mirostat": {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.2, "temperature": 1.0},
    "cold": {"temperature": 0.3},
    "bias": {"logit_bias": {3: 6.0, 5: float("-inf"), 900: 5.5}, "top_k": 10},
}


def bell(step: int, vocab: int) -> np.ndarray:
    """int64 [vocab] from 0 to 1020, bell-shaped around 510."""
    x = np.arange(vocab, dtype=np.uint64) + np.uint64(step * 1_000_003)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    return sum((x >> np.uint64(8 * i) & np.uint64(255)).astype(np.int64) for i in range(4))


def logits(step: int, vocab: int) -> np.ndarray:
    """float32 [vocab], multiples of 1/64: the same favourites at each step, with ties."""
    return ((2 * bell(0, vocab) + bell(step + 1, vocab) - 1530) / 64).astype(np.float32)


def stream(name: str, vocab: int) -> dict[str, Any]:
    """Tokens, Mirostat's last bound, and log-probabilities as exact hexadecimal floats."""
    sampler = Sampler(
        Sampling(**STREAMS[name]), vocab, 20_250_101, [1, 2, 3], lambda i: TEXTS[i % len(TEXTS)]
    )
    for step in range(STEPS):
        sampler.accept(sampler.sample(logits(step, vocab)))
    tokens = list(sampler.history[3:])
    surprise = sampler.logprobs(logits(0, vocab), tokens[:1]).chosen[0]
    return {"tokens": tokens, "mu": sampler.state().mu.hex(), "logprob": surprise.hex()}


def numbers() -> dict[str, str]:
    """Fingerprints of exp, log and total over many arguments, to the last bit."""
    x = -np.arange(200_000) / 256.0
    y = exp(x)
    logs = [log(n / 977.0) for n in range(1, 20_000)]
    return {
        "exp": hashlib.sha256(y.astype("<f8").tobytes()).hexdigest(),
        "log": hashlib.sha256(np.array(logs).astype("<f8").tobytes()).hexdigest(),
        "total": total(y).hex(),
    }


def golden() -> dict[str, Any]:
    streams = {
        f"{name}, {vocab}": stream(name, vocab) for name in STREAMS for vocab in (1000, 9001)
    }
    return {"numbers": numbers(), "streams": streams}


if __name__ == "__main__":
    json.dump(golden(), sys.stdout, indent=None, separators=(",", ":"))
    print()
