"""Write llamacpp.json, what llama.cpp's samplers leave of given logits (test_sampling_llamacpp.py).

    cd tests/sampling && python make_llamacpp.py /path/to/libllama.so model.gguf > llamacpp.json

Any model with a byte-level BPE vocabulary does (SmolLM2 was used): only the text of some tokens is
taken from it, for DRY's breakers. A case holds settings under edgeq's names, logits of a small
vocabulary, a history, and the ids and probabilities after llama.cpp's chain. No edgeq code runs.
"""

from __future__ import annotations

import ctypes as c
import json
import math
import random
import sys
from typing import Any

WORDS = [" the", " a", "\n", ":", '"', "*", "):", "\n\n", "ing", " of", ".", ",", "x", "A", " in"]
TEXTS = [*WORDS, *"bcdefghijklmnopqrstuvwyzBCDEFGHIJ"]


class TokenData(c.Structure):
    _fields_ = [("id", c.c_int32), ("logit", c.c_float), ("p", c.c_float)]


class TokenArray(c.Structure):
    _fields_ = [
        ("data", c.POINTER(TokenData)),
        ("size", c.c_size_t),
        ("selected", c.c_int64),
        ("sorted", c.c_bool),
    ]


class Bias(c.Structure):
    _fields_ = [("token", c.c_int32), ("bias", c.c_float)]


class ModelParams(c.Structure):
    _fields_ = [
        ("devices", c.c_void_p),
        ("tensor_buft_overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32),
        ("split_mode", c.c_int),
        ("load_mode", c.c_int),
        ("lazy_mode", c.c_int),
        ("main_gpu", c.c_int32),
        ("tensor_split", c.c_void_p),
        ("progress_callback", c.c_void_p),
        ("progress_callback_user_data", c.c_void_p),
        ("kv_overrides", c.c_void_p),
        *((name, c.c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts")),
        *((name, c.c_bool) for name in ("no_host", "no_alloc", "load_mtp")),
    ]


class Llama:
    """The few functions of libllama that are needed."""

    def __init__(self, library: str, model: str) -> None:
        lib = self.lib = c.CDLL(library)
        pointer, i32, f32, size = c.c_void_p, c.c_int32, c.c_float, c.c_size_t
        strings = c.POINTER(c.c_char_p)
        for name, result, arguments in [
            ("llama_model_default_params", ModelParams, []),
            ("llama_model_load_from_file", pointer, [c.c_char_p, ModelParams]),
            ("llama_model_get_vocab", pointer, [pointer]),
            (
                "llama_tokenize",
                i32,
                [pointer, c.c_char_p, i32, c.POINTER(i32), i32, c.c_bool, c.c_bool],
            ),
            ("llama_sampler_apply", None, [pointer, c.POINTER(TokenArray)]),
            ("llama_sampler_accept", None, [pointer, i32]),
            ("llama_sampler_init_logit_bias", pointer, [i32, i32, c.POINTER(Bias)]),
            ("llama_sampler_init_penalties", pointer, [i32, i32, f32, f32, f32]),
            ("llama_sampler_init_dry", pointer, [pointer, f32, f32, i32, i32, strings, size]),
            ("llama_sampler_init_top_k", pointer, [i32]),
            ("llama_sampler_init_typical", pointer, [f32, size]),
            ("llama_sampler_init_top_p", pointer, [f32, size]),
            ("llama_sampler_init_min_p", pointer, [f32, size]),
            ("llama_sampler_init_xtc", pointer, [f32, f32, size, c.c_uint32]),
            ("llama_sampler_init_temp_ext", pointer, [f32, f32, f32]),
            ("llama_sampler_init_mirostat_v2", pointer, [c.c_uint32, f32, f32]),
        ]:
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        parameters = lib.llama_model_default_params()
        parameters.vocab_only = True
        self.vocab = lib.llama_model_get_vocab(
            lib.llama_model_load_from_file(model.encode(), parameters)
        )

    def token(self, text: str) -> int:
        """The id of the one token that writes `text`."""
        ids = (c.c_int32 * 16)()
        data = text.encode()
        n = self.lib.llama_tokenize(self.vocab, data, len(data), ids, 16, False, False)
        if n != 1:
            raise SystemExit(f"{text!r} is {n} tokens; choose another")
        return ids[0]

    def chain(self, s: dict[str, Any], ids: list[int], mirostat_seed: int = 0) -> list[int]:
        """The samplers in the order of llama.cpp's common_sampler_init, as pointers."""
        lib, keep = self.lib, s.get("min_keep", 0)
        bias = [Bias(ids[int(i)], b) for i, b in s.get("logit_bias", {}).items()]
        out = [lib.llama_sampler_init_logit_bias(10**6, len(bias), (Bias * len(bias))(*bias))]
        temperature = lib.llama_sampler_init_temp_ext(s["temperature"], 0.0, 1.0)
        if "mirostat" in s:
            tau, eta = s["mirostat_tau"], s["mirostat_eta"]
            return [*out, temperature, lib.llama_sampler_init_mirostat_v2(mirostat_seed, tau, eta)]
        breakers = [b.encode() for b in s.get("dry_sequence_breakers", ["\n", ":", '"', "*"])]
        return [
            *out,
            lib.llama_sampler_init_penalties(
                10**6,
                s.get("repeat_last_n", 64),
                s.get("repeat_penalty", 1.0),
                s.get("frequency_penalty", 0.0),
                s.get("presence_penalty", 0.0),
            ),
            lib.llama_sampler_init_dry(
                self.vocab,
                s.get("dry_multiplier", 0.0),
                s.get("dry_base", 1.75),
                s.get("dry_allowed_length", 2),
                s.get("dry_penalty_last_n", 64),
                (c.c_char_p * len(breakers))(*breakers),
                len(breakers),
            ),
            lib.llama_sampler_init_top_k(s["top_k"]),
            lib.llama_sampler_init_typical(s.get("typical_p", 1.0), keep),
            lib.llama_sampler_init_top_p(s["top_p"], keep),
            lib.llama_sampler_init_min_p(s["min_p"], keep),
            lib.llama_sampler_init_xtc(
                s.get("xtc_probability", 0.0), s.get("xtc_threshold", 0.1), keep, 1
            ),
            temperature,
        ]

    def apply(self, samplers: list[int], ids: list[int], logits: list[float]) -> TokenArray:
        data = (TokenData * len(ids))(
            *(TokenData(i, x, 0.0) for i, x in zip(ids, logits, strict=True))
        )
        array = TokenArray(data, len(ids), -1, False)
        for sampler in samplers:
            self.lib.llama_sampler_apply(sampler, c.byref(array))
        array.keep = data  # the array points into it
        return array


def left(array: TokenArray, ids: list[int]) -> list[list[float]]:
    """[[small id, probability], ...] by id, from the logits that the chain left."""
    x = {ids.index(array.data[i].id): array.data[i].logit for i in range(array.size)}
    top = max(x.values())
    w = {i: math.exp(v - top) for i, v in x.items() if v > -math.inf}
    return [[i, round(w[i] / sum(w.values()), 9)] for i in sorted(w)]


def settings(rng: random.Random, kind: int) -> dict[str, Any]:
    s: dict[str, Any] = {"temperature": rng.choice([0.5, 0.8, 1.0, 1.7])}
    s["top_k"] = rng.choice([0, 0, 5, 20, 40])
    s["top_p"] = rng.choice([1.0, 1.0, 0.3, 0.7, 0.95])
    s["min_p"] = rng.choice([0.0, 0.0, 0.02, 0.05, 0.2])
    if rng.random() < 0.3:
        s["min_keep"] = rng.choice([1, 3, 10])
    if kind == 1:
        s["typical_p"] = rng.choice([0.2, 0.5, 0.9])
    if kind == 2:
        s.update(xtc_probability=1.0, xtc_threshold=rng.choice([0.02, 0.05, 0.1, 0.3, 0.6]))
    if kind == 3:
        s.update(
            repeat_penalty=rng.choice([1.0, 1.1, 1.5, 0.8]), repeat_last_n=rng.choice([0, 5, 64])
        )
        s.update(
            frequency_penalty=rng.choice([0.0, 0.5, -0.3]), presence_penalty=rng.choice([0.0, 0.7])
        )
    if kind == 4:
        s.update(dry_multiplier=rng.choice([0.3, 0.8]), dry_base=rng.choice([1.0, 1.2, 1.75]))
        s.update(dry_allowed_length=rng.choice([1, 2, 3]), dry_penalty_last_n=rng.choice([12, 64]))
        if rng.random() < 0.3:
            s["dry_sequence_breakers"] = rng.choice([[" of", "\n"], ["x:", "\n"], ["A"]])
    if kind in (3, 4):  # nothing cut: every penalty shows
        s.update(top_k=0, top_p=1.0, min_p=0.0)
    if rng.random() < 0.3:
        s["logit_bias"] = {
            str(rng.randrange(len(TEXTS))): rng.choice([-8.0, 1.5, 4.0]) for _ in range(3)
        }
    return s


def draw_logits(rng: random.Random) -> list[float]:
    scale = rng.choice([1.0, 2.5, 6.0])
    drawn: dict[float, None] = {}  # no ties: llama.cpp does not order them
    while len(drawn) < len(TEXTS):
        drawn[round(rng.gauss(0, scale), 3)] = None
    return list(drawn)


def draw_history(rng: random.Random) -> list[int]:
    """Ids with many repetitions, some of them breakers, ending in a repetition."""
    few = [rng.randrange(len(WORDS)) for _ in range(2)] + list(range(len(WORDS), len(WORDS) + 4))
    history = [rng.choice(few) for _ in range(rng.choice([3, 8, 40]))]
    for _ in range(rng.choice([1, 3, 8])):
        start = rng.randrange(len(history))
        history += history[start : start + rng.randrange(1, 9)]
    return history


def mirostat_case(llama: Llama, rng: random.Random, ids: list[int]) -> dict[str, Any]:
    s = {"mirostat": 2, "temperature": 1.0, "mirostat_tau": rng.choice([1.0, 2.0, 3.0])}
    s["mirostat_eta"] = rng.choice([0.1, 0.4])
    samplers, steps = llama.chain(s, ids, mirostat_seed=7), []
    for _ in range(12):
        logits = draw_logits(rng)
        array = llama.apply(samplers, ids, logits)
        chosen = ids.index(array.data[array.selected].id)
        steps.append({"logits": logits, "left": left(array, ids), "chosen": chosen})
    return {"settings": s, "steps": steps}


def main() -> None:
    llama, rng = Llama(*sys.argv[1:3]), random.Random(20250101)
    ids = [llama.token(text) for text in TEXTS]
    cases = []
    for n in range(150):
        s, logits, history = settings(rng, n % 5), draw_logits(rng), draw_history(rng)
        samplers = llama.chain(s, ids)
        for token in history:
            for sampler in samplers:
                llama.lib.llama_sampler_accept(sampler, ids[token])
        array = llama.apply(samplers, ids, logits)
        case = {"settings": s, "history": history if n % 5 > 2 else [], "logits": logits}
        cases.append({**case, "left": left(array, ids)})
    mirostat = [mirostat_case(llama, rng, ids) for _ in range(4)]
    json.dump(
        {"texts": TEXTS, "cases": cases, "mirostat": mirostat}, sys.stdout, separators=(",", ":")
    )
    print()


if __name__ == "__main__":
    main()
