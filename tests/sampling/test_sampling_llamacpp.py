"""The chain against llama.cpp's own samplers: same candidates left, same probabilities.

llamacpp.json was written by make_llamacpp.py with libllama.so.0.6.0 (MIT licence), which computes in
float32, so probabilities agree to about 1e-6. No edgeq code took part.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.sampling import Sampler, Sampling

GOLDEN = json.loads(Path(__file__).with_name("llamacpp.json").read_text(encoding="utf-8"))


def sampling(settings: dict[str, Any]) -> Sampling:
    bias = {int(token): value for token, value in settings.get("logit_bias", {}).items()}
    return Sampling(**{**settings, "logit_bias": bias})


def check(sampler: Sampler, logits: list[float], left: list[list[float]]) -> None:
    ids, p = sampler.distribution(np.array(logits, dtype=np.float32))
    assert ids.tolist() == [token for token, _ in left]
    np.testing.assert_allclose(p, [value for _, value in left], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("n", range(len(GOLDEN["cases"])))
def test_the_chain_leaves_what_llamacpp_leaves(n: int) -> None:
    case = GOLDEN["cases"][n]
    texts = GOLDEN["texts"]
    sampler = Sampler(sampling(case["settings"]), len(texts), 1, case["history"], texts)
    check(sampler, case["logits"], case["left"])


@pytest.mark.parametrize("n", range(len(GOLDEN["mirostat"])))
def test_mirostat_keeps_what_llamacpp_keeps_as_its_bound_moves(n: int) -> None:
    case = GOLDEN["mirostat"][n]
    s = sampling(case["settings"])
    sampler = Sampler(s, len(GOLDEN["texts"]), 1)
    mu = 2 * s.mirostat_tau
    for step in case["steps"]:
        sampler.restore(sampler.state()._replace(mu=mu))
        check(sampler, step["logits"], step["left"])
        surprise = -math.log2(dict(step["left"])[step["chosen"]])
        mu -= s.mirostat_eta * (surprise - s.mirostat_tau)
