"""Mutants of encoders and of what makes whole files of them."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

TWIN = ("tests/quants/test_quants_encode.py -k same_bytes",)
ZEROS = ("tests/quants/test_quants_encode.py -k 'same_bytes or widen'",)
BLOCKS = ("tests/quants/test_quants_encode.py -k 'same_bytes or neighbours'",)
UNITS = ("native/encode/avx512.c", "native/encode/avx2.c", "native/encode/scalar.c")


def native(file: str, tests: tuple[str, ...] = TWIN) -> In:
    return In("encoders", f"native/encode/{file}", tests, UNITS)


ENCODERS: list[Mutant] = [
    *native("lanes.inc.h", ZEROS)(
        ("load_columns", "l < count ? l : count - 1", "l < count - 1 ? l : 0", "the last block"),
        ("load_weights", "v_set(EQ_NOTHING)", "v_set(0.0f)", "columns without importance"),
        ("v_largest", "v_below(v_abs(top), v_abs(x[i]), x[i], top)", "v_max(top, v_abs(x[i]))", "sign of the largest"),
        ("v_largest_of", "v_below(counts, w[i], v_abs(x[i]), v_zero())", "v_abs(x[i])", "outliers without importance"),
        ("v_largest_of", "v_below(v_zero(), v_abs(some), one, v_zero())", "one", "zeros that alone count"),
        ("v_largest_of", "v_mul(v_abs(some), v_set(EQ_WIDE))", "v_abs(some)", "ranges a little wider"),
        ("v_unit", "v_set(EQ_TINY)", "v_set(3e-39f)", "ranges too small to divide by"),
        ("v_ends_of", "v_below(counts, w[i], x[i], none)", "x[i]", "low outliers without importance"),
        ("v_ends_of", "v_below(narrow, v_zero(), v_zero(), v_below(", "(v_below(", "a part of a block without any"),
    ),
    *native("scale.inc.h")(
        ("scan_scales", "both && k % 2 == 0 ? -to : to", "to", "scales of one sign alone"),
        ("loudest", "v_below(much, w[i], v_abs(x[i]), v_zero())", "v_abs(x[i])", "the largest of those that are loud"),
        ("loudest", "v_mul(all, most)", "v_zero()", "loud weights of little importance"),
        ("loud_place", "(float)(k / 2)", "0.0f", "places farther on"),
        ("loud_place", "k % 2 ? v_sub(v_zero(), place) : place", "place", "places of one sign alone"),
        ("scan_scales", "if (ranges > 1) {", "if (0) {", "the range of all"),
        ("best_half", "k <= 4; k++", "k <= 3; k++", "a place between those of the scan"),
        ("keep_better", "v_max(misfit(levels, x, w, n, d), best->least)", "misfit(levels, x, w, n, d)", "noise"),
    ),
    *native("affine.inc.h")(
        ("affine_fit", "v_mul(t->x, t->q))", "v_mul(t->x, t->qq))", "normal equations"),
        ("scan_range", "o = v_min(o, v_zero());", "", "offsets above zero"),
        ("scan_range", "s, o, anchored), least)", "s, o, anchored), v_zero())", "noise"),
        ("affine_center", "v_add(x[0], v_div(t.x, t.w))", "x[0]", "the mean"),
        ("polish_affine", "k < 3; k++", "k < 1; k++", "fits after rounding"),
    ),
    *native("kquants.inc.h")(
        ("fit_constant", "v_add(v_mul(v_mul(weight, r), r), spread)", "v_mul(v_mul(weight, r), r)", "blocks not alike"),
        ("unit_half", "v_below(v_zero(), v_abs(h), h, up)", "h", "scales too small for a half"),
        ("mixed_round", "try < 3", "try < 2", "neighbours of mins"),
        ("best_mixed", "side < 2", "side < 1", "offsets at the high end"),
        ("put_scales_mins", "sc[i + 4] >> 4 << 6", "sc[i + 4] >> 4 << 5", "high bits of scales"),
    ),
    *native("grids.inc.h")(
        ("take_signs", "if (!f->even) continue;", "continue;", "even signs"),
        ("point_index", "v_below(best, v_add", "v_below(v_zero(), v_add", "which point is the nearest"),
        ("search_grid", "k < 2; k++", "k < 1; k++", "second round"),
    ),
    *native("fp4.inc.h")(
        ("choose_fp4", "k <= 2 * reach", "k < reach", "codes farther away"),
        ("e2m1_code", "v_add(code, v_set(8))", "code", "signs"),
    ),
    *native("encode.c", BLOCKS)(
        ("eq_encode", "(at + i) % per_row * block", "0", "importances of later blocks"),
    ),
]  # fmt: skip

RUN = ("tests/quantize/test_quantize_run.py -x",)
MIXES = ("tests/quantize/test_quantize_mixes.py -x",)

FILES: list[Mutant] = [
    *In("quantize", "edgeq/quantize/roles.py", MIXES)(
        ("kept", "< 2", "< 1", "vectors"),
        ("kept", "if not name.endswith(\"weight\"):", "if False:", "what is no weight"),
        ("_more_bits", "% 3 == 2", "% 3 == 1", "every third layer"),
        ("_more_bits", ">= 7 * p.of // 8", ">= 7 * (p.of // 8)", "the last eighth"),
        ("Facts.of", "layers == 80", "layers == 81", "70B models"),
        ("layer_of", "int(found[1])", "0", "layers"),
    ),
    *In("quantize", "edgeq/quantize/plan.py", MIXES)(
        ("_Chooser._ruled", "if facts.experts > 1 and role.startswith(\"ffn\"):", "if False:", "layers of experts"),
        ("_Chooser._ruled", "self._seen[role] += role in COUNTED", "pass", "counts"),
        ("_Chooser._output", "t.shape[-1] % default.block == 0", "True", "rows of the output matrix"),
        ("_Chooser._fitting", "if columns % near.block:", "if False:", "rows that no block fits"),
        ("_Chooser._wanted", "or o.pure", "", "pure"),
        ("_Chooser._wanted", "if role == \"output\" and o.output:", "if False:", "format of the output"),
        ("make_plan", "(layer_of(t.name), t.name.encode())", "t.name", "order in which tensors are counted"),
        ("_patterns", "re.compile(pattern, re.IGNORECASE)", "re.compile(pattern.lower())", "escapes in patterns"),
        ("idle", "if (pattern, fmt) not in used:", "if False:", "patterns that decide nothing"),
        ("idle", "if (option,) not in used:", "if False:", "formats that no tensor takes"),
        ("_check", "options.keep_output and", "False and", "options that contradict each other"),
        ("_Chooser._fitting", "fmt.name, asked)", "fmt.name)", "a pattern whose format does not fit"),
        ("mix_named", "if name not in numbers:", "if False:", "numbers of no mix"),
    ),
    *In("quantize", "edgeq/quantize/importances.py", RUN)(
        ("find", "if c.changes and len(c.shape) > 1:", "if False:", "importances"),
        ("weighed", "c.target.name not in FLOATS", "True", "importances for what is only rounded to floats"),
        ("find", "if not rounded:", "if False:", "importances that change nothing"),
        ("metadata", "os.path.basename(file)", "file", "names of folders kept"),
        ("find", "layer_of(name) >= layers", "False", "importances of a larger model"),
        ("notes", "if name not in known]", "if False]", "entries of no tensor"),
        ("notes", "known[name].changes and", "False and", "experts without importances"),
    ),
    *In("quantize", "edgeq/quantize/finite.py", RUN)(
        ("checked", "if found is not None:", "if False:", "numbers that are not finite are copied"),
        ("checked", "at // block + index", "index", "the place in later pieces"),
        ("_first", "int(bad[0])", "int(bad[-1])", "which number is the first"),
    ),
    *In("quantize", "edgeq/quantize/run.py", RUN)(
        ("_check_sources", "if again and not allow:", "if False:", "quantized sources"),
        ("_metadata", "if k not in SPLIT_KEYS", "if True", "split keys"),
        ("_metadata", "Value(\"u32\", file_type)", "Value(\"u32\", 1)", "file type"),
        ("_fingerprint", "formats = [(c.name, c.target.name) for c in plan]", "formats = []", "another type goes on"),
        ("_fingerprint", "__version__, native.build()", "0, native.build()", "an older version goes on"),
        ("_fingerprint", "native.build(), ", "0, ", "another library goes on"),
        ("quantize", "if mix is COPY and", "if False and", "formats that COPY passes over"),
        ("_metadata", "any(c.changes for c in plan)", "True", "what a copy says of importances"),
        ("_metadata", "if file_type >= 0:", "if True:", "what a copy says of its type"),
        ("quantize", "len(g.parts) == 1", "False", "a split that is not kept"),
        ("quantize", "if g.changed():", "if False:", "sources that change"),
    ),
    *In("quantize", "edgeq/quantize/stream.py", RUN)(
        ("_in_order", "popleft().result()\n    while", "pop().result()\n    while", "order"),
        ("_encoded", "importance[matrix]", "importance[0]", "importances of later matrices"),
        ("_runs", "per_matrix - row", "step", "the last rows of a matrix"),
        ("spread", "% 1.0", "% 0.5", "rows of the second half of a stretch"),
        ("_tried", "rows // (job.tensor.shape[-2] if len(job.tensor.shape) > 1 else 1)", "0 * rows", "importances"),
        ("_loss", "(error * error)", "(exact * error)", "what a sample of rows lost"),
    ),
    *In("quantize", "edgeq/quants/gain.py", ("tests/quants/test_gain.py",))(
        ("keep_size", "full / kept", "kept / full", "the way round"),
        ("_block_sums", "a * weights[i]", "a * weights[0]", "importances"),
        ("keep_size", "for _, at in fmt.scales:", "for _, at in fmt.scales[:1]:", "mins"),
        ("can_keep", "fmt.bits_per_weight > 2", "True", "formats for weights that lie on their grid"),
    ),
    *In("quantize", "edgeq/quantize/roles.py", RUN)(
        ("is_multiplied", '("ffn_gate", "ffn_up")', '("ffn_gate",)', "up"),
    ),
    *In("quantize", "edgeq/gguf/writer.py", RUN)(
        ("Writer._taken_up", "hashed.hexdigest() != digest", "False", "damage in what is taken up"),
        ("Writer._taken_up", "file.back_to(start)", "pass", "place to go on from"),
        ("Writer._go_on", "made.update(what.encode(\"utf-8\", \"surrogatepass\"))", "pass", "what an earlier run made"),
        ("Writer._discard", "                file.discard()", "                file.keep()", "leftovers"),
        ("_given", "tensors[end - n : end]", "tensors[:n]", "parts"),
    ),
    *In("quantize", "edgeq/gguf/journal.py", RUN)(
        ("Journal._claim", "fcntl.flock", "(lambda *a: None)", "two runs at once"),
        ("Journal.__init__", "lines[0] == key and ", "", "a journal of something else"),
        ("Journal.__init__", 'lines == [""]', "True", "an earlier run's work"),
        ("Journal.settle", "self.empty = n == 0", "pass", "hidden files with nothing in them"),
        ("remove_left", "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", "another run's work"),
    ),
    *In("quantize", "edgeq/gguf/partfile.py", RUN)(
        ("_check_own", "and found.st_nlink <= 1", "", "a file with other names"),
        ("PartFile.__init__", "work = kept and os.fstat(self._fd).st_size > 0", "work = kept", "empty hidden files"),
        ("PartFile.__init__", "work = kept and os.fstat(self._fd).st_size > 0", "work = False", "earlier work"),
    ),
]  # fmt: skip

MUTANTS = [*ENCODERS, *FILES]
