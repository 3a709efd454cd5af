"""Mutants of sampling and of stop strings."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

ROOM = "tests/sampling/test_sampling_"


def of(file: str, *tests: str) -> In:
    asked = (" ".join(f"{ROOM}{name}.py" for name in tests),)
    return In("samplers", f"edgeq/sampling/{file}", asked)


MUTANTS: list[Mutant] = [
    *of("filters.py", "filters", "llamacpp", "chain")(
        ("top_k", "values > border", "values >= border", "ties all kept"),
        ("top_k", "ties[: k -", "ties[-(k - int(np.count_nonzero(keep))) :][: k -",
         "ties to the highest position"),
        ("top_k", "_GROUPS - k)[_GROUPS - k]", "_GROUPS - k)[_GROUPS - 1]", "border from the largest group"),
        ("descending", "-x[picked]", "x[picked]", "smallest first"),
        ("_take", 'side="right" if beyond else "left")) + 1', 'side="right" if beyond else "left"))',
         "one candidate too few"),
        ("_take", "max(count, min_keep)", "count", "min_keep ignored"),
        ("top_p", "p * total(w)", "p", "weights not normalized"),
        ("min_p", "x >= float(x.max()) + log(p)", "x > float(x.max()) + log(p)",
         "the border itself left out"),
        ("min_p", "kept.size >= min_keep", "True", "min_keep ignored"),
        ("typical", "np.abs(total(w * d) / z - d)", "np.abs(total(w * d) - d)", "entropy not normalized"),
        ("typical", "beyond=True", "beyond=False", "one candidate too few"),
        ("xtc", "top[x[top] == x[top].min()][-1]", "top[x[top] == x[top].max()][-1]",
         "keeps the most probable"),
        ("xtc", "x.size - gone < min_keep", "False", "min_keep ignored"),
        ("mirostat", "<= mu * LN2", "<= mu", "nats for bits"),
        ("mirostat", "x.argmax()", "x.argmin()", "least probable where none is left"),
    ),
    *of("penalties.py", "penalties", "llamacpp")(
        ("store", "np.where(np.isneginf(values), values, ", "np.where(values > np.inf, values, ",
         "a ban becomes a finite number"),
        ("add_bias", "x[ids] + bias", "bias", "bias in place of the logit"),
        ("RecentTokens.__init__", "len(history) - n if", "len(history) - n - 1 if", "window one too long"),
        ("RecentTokens.push", "history[-self.n - 1]", "history[-self.n]", "drops the wrong token"),
        ("RecentTokens.push", "self.counts[old] -= 1", "pass", "nothing leaves the window"),
        ("penalize", "v <= 0.0, v * s.repeat_penalty, v / s.repeat_penalty",
         "v <= 0.0, v / s.repeat_penalty, v * s.repeat_penalty", "favours repetition"),
        ("penalize", "c * s.frequency_penalty", "s.frequency_penalty", "frequency not counted"),
        ("penalize", "v -= s.presence_penalty", "v -= c * s.presence_penalty", "presence counted"),
    ),
    *of("mathfn.py", "mathfn", "borders", "golden")(
        ("_exp_block", "(1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0)", "(1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0)[::-1]",
         "coefficients in reverse"),
        ("_exp_block", "y[x < EXP_CUT] = 0.0", "pass", "tiny results not zero"),
        ("_exp_block", "r -= k * (_LN2_LOW / _STEPS)", "pass", "low part of ln 2"),
        ("exp", "range(0, x.size, _BLOCK)", "range(0, x.size - 1, _BLOCK)", "a last block of one"),
        ("log", "range(25, 1, -2)", "range(9, 1, -2)", "series cut short"),
        ("log", "e * _LN2_LOW", "0.0", "low part of ln 2"),
        ("power", "if n & 1:\n            result", "if n:\n            result", "every square counts"),
        ("total", "w[: odd.size] += odd", "pass", "odd one out"),
        ("_powers_of_two", "range(7)", "range(6)", "roots of two"),
    ),
    *of("rng.py", "rng", "golden")(
        ("philox", "(p1 >> 32) ^ c1 ^ k0", "(p1 >> 32) ^ c1 ^ k1", "keys swapped"),
        ("_ROUNDS", "10", "9", "nine rounds"),
        ("_WEYL", "0xBB67AE85", "0xBB67AE84", "constant"),
        ("uniforms", "(w1 << 32 | w0) >> 11", "(w0 << 32 | w1) >> 11", "words swapped"),
    ),
    *of("dry.py", "penalties", "borders", "llamacpp")(
        ("common_suffixes", "min(z[k - left], right - k)", "z[k - left]", "border of the known part"),
        ("repeated", "length >= allowed", "length > allowed", "one repetition later"),
        ("repeated", "min(z[k], limit)", "z[k]", "breakers ignored"),
        ("repeated", "length > longest.get(token, -1)", "True", "last instead of longest repetition"),
        ("Dry.unbroken", "if start < end", "if start <= end", "token behind a breaker"),
        ("Dry.apply", "longest[token] - s.dry_allowed_length", "longest[token]",
         "allowed length not taken off"),
        ("Dry.apply", "if not any(b in self._text(token) for b in self._breakers)", "", "breakers penalized"),
        ("Dry._text", 'piece.encode("utf-8", "surrogatepass")', 'piece.encode("utf-8", "replace")',
         "lone surrogates"),
    ),
    *of("chain.py", "chain", "state", "golden", "llamacpp")(
        ("Chain.edited", "x = x.copy()\n        if s.hook", "if s.hook", "the caller's logits change"),
        ("Chain.edited", "penalize(x, recent.counts, s)", "pass", "penalties left out"),
        ("Chain.edited", "first_maximum(x, HOOKED)", "pass", "what a hook made is not checked"),
        ("Chain.edited", "return x, first_maximum(x, EDITED)", "return x, top", "greedy before edits"),
        ("Chain.draw", 'side="right"', 'side="left"', "border of a draw"),
        ("Chain.draw", "surprise - self.settings.mirostat_tau", "surprise + self.settings.mirostat_tau",
         "target of mirostat"),
        ("Chain.draw", "u, _ = uniforms", "_, u = uniforms", "second number of a draw"),
        ("Chain.distribution", "w / total(w)", "w", "not normalized"),
        ("Chain._weights", "not s.mirostat", "True", "top_k with mirostat"),
        ("Chain._weights", "(v - v.max()) / t", "(v - v.max()) * t", "temperature multiplied"),
        ("Chain._weights", "v > -math.inf], v[v > -math.inf]",
         "v > -math.inf], v[: int((v > -math.inf).sum())]", "masked tokens")
        ,
        ("Chain._truncations", "s.typical_p < 1.0", "s.typical_p < 0.0", "typical left out"),
        ("Chain._truncations", "yield lambda v: filters.top_p(v, s.top_p, least)",
         "yield lambda v: filters.top_p(v, s.top_p, 0)", "min_keep of top_p"),
        ("Chain._truncations", "uniforms(seed, draws)[1] <", "uniforms(seed, draws)[0] <",
         "chance of XTC from the draw's number"),
    ),
    *of("sampler.py", "state", "chain", "penalties")(
        ("Sampler.copy", "twin._set(self.state())", "pass", "a copy shares its history"),
        ("Sampler.accept", "self._recent.push(self._history)", "pass", "accepted tokens not counted"),
        ("Sampler.sample", "self._draws += 1", "self._draws += 0", "every draw the same number"),
    ),
    *of("logits.py", "chain", "borders")(
        ("as_logits", "x.shape != (n,)", "x.size != n", "logits of two axes"),
        ("first_maximum", "if value == -math.inf", "if False", "all tokens masked"),
    ),
    *of("logprobs.py", "chain", "state", "golden")(
        ("logprobs", "float(d[i]) - log_z for i in ids", "float(d[i]) for i in ids", "not normalized"),
        ("logprobs", "float(d[i]) - log_z) for i in top", "float(d[i])) for i in top",
         "top ones not normalized"),
    ),
    *of("settings.py", "settings", "penalties")(
        ("Sampling.penalizes", "and self.presence_penalty == 0.0", "", "presence alone"),
        ("Sampling.dries", "self.dry_multiplier > 0.0", "self.dry_multiplier >= 0.0", "a multiplier of none"),
        ("_number", "low <= value <= high", "low <= value", "no upper bounds"),
        ("is_int", "and not isinstance(value, bool)", "", "true taken for 1"),
        ("_bias", "token >= 0 and", "", "negative ids"),
    ),
    *In("stop strings", "edgeq/stop.py", ("tests/test_stop.py",))(
        ("StopStrings._link", "self._hit[node] or self._hit[self._fail[node]]", "self._hit[node]",
         "a stop string inside another"),
        ("StopStrings._link", "self._fail[child] = self._step(self._fail[node], char)",
         "self._fail[child] = 0", "suffixes that begin another"),
        ("StopStrings._step", "node = self._fail[node]", "node = 0", "shorter beginnings lost"),
        ("StopStrings.feed", "self._prefix[node][1]), False", "0), False", "beginnings shown"),
        ("StopStrings._released", "depth + used - keep", "used - keep", "what was held is lost"),
        ("StopStrings.flush", "return stop[:depth]", "return stop", "text that never came"),
        ("StopStrings.feed", "position + 1, len(self.matched)", "position, len(self.matched)",
         "character before a stop string lost"),
    ),
]  # fmt: skip
