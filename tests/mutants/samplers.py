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
    *In("rows", "edgeq/sampling/sampler.py", ("tests/backends/test_rows.py",))(
        ("Sampler.plain", "self.settings.temperature == 0.0 and", "", "the likeliest token where one is drawn"),
        ("Sampler.plain", "and not self.settings.edits", "", "edits left out"),
        ("Sampler.sample", "len(logits) == self.vocab_size", "True", "logits of another vocabulary"),
        ("Sampler.sample", "if top >= 0:", "if True:", "logits that are not finite"),
    ),
    *In("rows", "edgeq/sampling/settings.py", ("tests/backends/test_rows.py",))(
        *(("Sampling.edits", f"self.{edit}", "False", f"{edit} left out")
          for edit in ("logit_bias", "hook", "penalizes", "dries")),
    ),
    *In("rows", "edgeq/backends/rows.py", ("tests/backends/test_rows.py",))(
        ("Row.first_maximum", "self._index * rows.width", "0", "the first row for all"),
        ("Row.__array__", "[self._index]", "[0]", "the first row for all"),
        ("Rows.__getitem__", "index % self._count", "index", "rows before the first"),
        ("Rows.__getitem__", "<= index <", "<= index <=", "a row behind the last"),
        ("Rows.__iter__", "range(self._count)", "range(1, self._count)", "the first row left out"),
    ),
    *In("rows", "edgeq/backends/native.py", ("tests/backends/test_rows.py",))(
        ("NativeExecutable.step", 'if "numpy" in sys.modules else made', "", "NumPy for every step"),
    ),
    *In("rows", "native/maximum.c", ("tests/backends/test_rows.py",))(
        ("eq_first_maximum", "!x || n <= 0", "!x", "rows of nothing"),
        ("eq_first_maximum", "most[lane] = x[0]", "most[lane] = 1.0f", "rows of small values"),
        ("eq_first_maximum", "broken[lane] += value - value", "broken[lane] += 0.0f", "NaN among the first"),
        ("eq_first_maximum", "broken[0] += x[i] - x[i]", "broken[0] += 0.0f", "NaN among the last"),
        ("eq_first_maximum", "most[0] = x[i] > most[0] ? x[i] : most[0]", "most[0] += 0.0f",
         "the last are not looked at"),
        ("eq_first_maximum", "most[0] = most[lane] > most[0] ? most[lane] : most[0]", "most[0] += 0.0f",
         "the first of a lane for all"),
        ("eq_first_maximum", "!= 0.0f) return", "> 0.0f) return", "NaN is not greater"),
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
