"""Mutants of low-rank adapters: their files, PEFT's folders, running them beside weights, merging."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant


def of(file: str, *tests: str) -> In:
    return In("lora", f"edgeq/{file}.py", tuple(f"tests/{name}.py" for name in tests))


CONVERT, MERGE, RUN = (f"lora/test_lora_{name}" for name in ("convert", "merge", "run"))

MUTANTS: list[Mutant] = [
    *of("lora/adapter", RUN, MERGE)(
        ("Adapter.factor", "if self.alpha else 1.0", "if self.alpha else 0.0", "files without an alpha"),
        ("Adapter.factor", "self.alpha / self.pairs[name].rank", "self.alpha", "alpha not over the rank"),
        ("Adapter.check", "if self.architecture != found:", "if False:", "adapters of other architectures"),
        ("check_shape", "if pair.shape != shapes[name]:", "if False:", "adapters of other shapes"),
        ("read", "if suffix not in SUFFIXES:", "if False:", "tensors that are no half of a pair"),
        ("_check_kind", 'if kind != "adapter":', "if False:", "models as adapters"),
        ("_check_kind", "if TOKENS in file.metadata:", "if False:", "adapters that wait for tokens"),
        ("_pair", "if name == EMBEDDING:", "if False:", "adapters of the embedding"),
        ("halves", "if name == EMBEDDING", "if False", "the embedding's way round"),
        ("pair", "or a.shape[0] != b.shape[1]", "", "halves of two ranks"),
        ("pair", "if not np.isfinite(matrix).all():", "if False:", "numbers that are none"),
        ("scale_of", "or not math.isfinite(scale)", "", "infinite scales"),
        ("stack", "scale * adapter.factor(name)", "adapter.factor(name)", "scales left out"),
        ("stack", "if not most <= LARGEST:", "if False:", "scaled numbers that overflow"),
        ("stack", "found.setdefault(name, []).append((p.a, b))", "found[name] = [(p.a, b)]", "the last adapter alone"),
    ),
    *of("lora/peft", CONVERT)(
        ("read", "None:\n            raise", "None:\n            continue\n            raise", "tensors left out"),
        ("_pair", "if wanted not in (found.rank, None):", "if False:", "ranks that the config contradicts"),
        ("_pair", 'heads[0] if slot.heads == "heads" else heads[1]', "heads[0]", "pairs of grouped keys"),
        ("_pair", "b[pairs_from_halves(b.shape[0], count)]", "b", "halves not made pairs"),
        ("_pair", "math.sqrt(found.rank)", "1.0", "the factor of rank-stabilized adapters"),
        ("_pair", "own / alpha *", "", "alphas of single modules"),
        ("read", "tuple(map(str, inputs(folder)))", "()", "a folder written over"),
        ("base_of_folder", "tuple(map(str, inputs(path)))", "()", "a base written over"),
        ("read", "for name, made in ordered.items():", "for name, made in ():", "shapes of another base"),
        ("_check", 'if kind != "LORA":', "if False:", "other methods"),
        ("_check", 'config.get("bias", "none") != "none"', "False", "trained biases"),
        ("_check", "if config.get(key)}", "if False}", "all that is no low-rank sum"),
        ("_for_module", "return _number(given, pattern, where)", "pass", "patterns"),
        ("read", "if slot.target in pairs:", "if False:", "one weight twice"),
    ),
    *of("passes/adapt", "passes/test_adapt", RUN, MERGE)(
        ("adapt", "op.replace(out=plain)", "op", "the product written over"),
        ("adapt", "In(plain), In(high)", "In(high), In(high)", "the base's product left out"),
        ("adapt", " and name not in tables", "", "heads that are the embedding"),
        ("adapt", "waiting[scaled.get(op.out, index)] = op, name", "waiting[index] = op, name", "before the scale"),
        ("adapt", "if missing := ranks.keys() - found:", "if missing := set():", "weights that nothing reads"),
    ),
    *of("lora/merge", MERGE)(
        ("_rows", "pair.b[first : first + n]", "pair.b[:n]", "the first rows again and again"),
        ("_rows", "change if scale == 1.0 else change / np.float32(scale)", "change", "second-level scales"),
        ("_rows", "slice(-first % SAMPLE, None, SAMPLE)", "slice(0, 0)", "no sample"),
        ("_rows", "sound = np.isfinite(old).all()", "sound = True", "adapters blamed for a broken base"),
        ("_scale", "or found == 0.0", "", "scales of 0"),
        ("merge", "if k not in SPLIT_KEYS", "", "keys of parts"),
        ("merge", " + [name for adapter, _ in loaded for name in adapter.files]", "", "adapters written over"),
        ("merge", "if p.a.any() and p.b.any()", "", "weights to which nothing is added"),
        ("merge", "checked(tensor)", "tensor.pieces()", "broken weights that are copied"),
        ("merge", "if file.changed():", "if False:", "bases that change meanwhile"),
    ),
]
