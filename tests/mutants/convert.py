"""Mutants of the converter: reading checkpoints, families, quantized weights, vocabularies, writing."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant


def of(file: str, *tests: str) -> In:
    return In("convert", f"edgeq/convert/{file}", tuple(f"tests/convert/test_{name}.py" for name in tests))


MODELS, REFUSALS, VOCAB = "convert_models", "convert_refusals", "convert_vocab"

MUTANTS: list[Mutant] = [
    *of("safetensors.py", "safetensors")(
        ("read", "min(MAX_HEADER, size - 8):", "size:", "headers beyond the file"),
        ("read", "(entries, size - start, where)", "(entries, entries[-1][4], where)", "files cut off"),
        ("File.read", "if len(out) < n:", "if False:", "rows that are not there any more"),
        ("Tensor.rows", "[rows - first]", "", "rows in the order of the file"),
        ("_unique", "len(found) != len(pairs)", "False", "a name that is there twice"),
        ("_entries", "end - first != wanted", "end - first < wanted", "more bytes than a shape has"),
        ("_is_size", "type(n) is int", "isinstance(n, int)", "true as a size"),
        ("_is_size", "0 <= n", "-9 <= n", "sizes under 0"),
        ("_check_layout", "if first != at:", "if first < at:", "gaps"),
        ("_check_layout", "if first != at:", "if first > at:", "tensors that overlap"),
    ),
    *of("safetensors.py", MODELS)(
        ("Tensor.same", "self.at + at, n", "self.at, n", "tensors that begin alike"),
    ),
    *of("checkpoint.py", REFUSALS, VOCAB)(
        ("Checkpoint._weight_map", 'set(shard) & set("/\\\\:\\0")', "False", "shards outside the folder"),
        ("is_file", "if os.path.lexists(path):", "if False:", "what is no file"),
        ("_unambiguous", "if value != found[key]:", "if False:", "a key with two values"),
        ("Checkpoint._read_all", "wanted.get(tensor.name) != path.name", "False", "tensors that the index lacks"),
        ("Checkpoint._read_all", "if name not in found:", "if False:", "tensors that a shard lacks"),
        ("Checkpoint.check_unchanged", "_stamp(path) != before", "False", "files that change"),
    ),
    *of("hparams.py", REFUSALS)(
        ("Hparams.number", "0 < rounded < below", "rounded < below", "numbers that float32 makes 0"),
        ("Hparams.number", "0 < rounded < below", "0 < rounded", "epsilons that no runtime takes"),
    ),
    *of("metadata.py", REFUSALS)(
        ("check", "Config.read(Keys(held, arch))", "pass", "models that would not load"),
        ("check_name", "if not name.strip():", "if False:", "an empty name"),
    ),
    *of("mixed.py", MODELS)(
        ("apply", "importance=weights[c.name], ", "", "importances"),
        ("apply", ", keep_size=is_multiplied(c.name)", "", "gate and up that shrink"),
        ("apply", "c.name not in ENDS and", "", "the embedding called missing"),
    ),
    *of("rope.py", MODELS, REFUSALS)(
        ("llama3", "turns - low", "turns + low", "the ramp of llama3"),
        ("yarn", "if abs(extra - 1.0) > 1e-6:", "if False:", "another attention factor of yarn"),
        ("longrope", 'p.number("factor", h.context / original)', "h.context / original", "the factor of longrope"),
        ("_original", "h if key in h else p", "p", "the context before it was extended"),
        ("longrope", "math.sqrt(1 +", "math.sqrt(2 +", "the attention factor of longrope"),
        ("rope", "and not factors", "and False", "llama3 scaling of qwen2"),
        ("rope", "if lost := sorted(p.config.keys() - PLAIN):", "if lost := []:", "a scaling without a kind"),
    ),
    *of("families/family.py", MODELS)(
        ("pairs_from_halves", "(heads, 2, -1)", "(heads, -1, 2)", "halves to pairs"),
        ("attention", '"kv_heads") if permuted', '"heads") if permuted', "pairs of k with grouped queries"),
        ("tied", "(optional=optional)", "(optional=False)", "tied heads"),
    ),
    *of("families/family.py", REFUSALS)(
        ("window_ignored", "window < h.context", "False", "the note on windows"),
        ("_any_sliding", '"sliding_attention" in types', "True", "windows that no layer has"),
        ("_any_sliding", "first < h.layers", "True", "windows of the last layers"),
        ("output_bias", 'h.flag("attention_bias", False)', "False", "the note on biases"),
    ),
    *of("families/gemma3.py", MODELS)(
        ("adjust", "math.sqrt(assumed", "(assumed", "another scale of queries"),
        ("local_layers", "t == kinds[0]", "t == kinds[1]", "which layers are local"),
        ("keys", "if local !=", "if local ==", "a pattern of its own"),
    ),
    *of("floats.py", "prequantized")(
        ("_e4m3", "exponent - 10.0", "exponent - 9.0", "the exponent of FP8"),
        ("_e4m3", "fraction * 2.0**-9", "fraction * 0.0", "subnormals of FP8"),
    ),
    *of("source.py", "prequantized")(
        ("unpack", "np.arange(0, 8, bits", "np.arange(8 - bits, -1, -bits", "the order of numbers in a byte"),
        ("unpack", 'bitorder="little"', 'bitorder="big"', "numbers of 3 bits"),
        ("Integers.levels", "- self.zeros", "+ self.zeros", "zeros"),
        ("even_groups", "size if size > 0", "size if size > 1 << 20", "the groups of columns"),
    ),
    *of("grid.py", "prequantized")(
        ("formats", "if columns % BLOCK or", "if False and", "groups that cut blocks"),
        ("formats", "source.high - int(zeros.min())", "source.high - int(zeros.max())", "the range of numbers"),
        ("formats", "source.high <= 15", "source.high <= 255", "numbers of 8 bits as Q4_1"),
        ("formats", "<= LARGEST) | same).all()", "<= LARGEST) | same).any()", "scales that fp16 does not hold"),
        ("formats", "(least <= LARGEST).all()", "True", "minima that fp16 does not hold"),
        (
            "blocks",
            "q[..., :16] & 15 | (q[..., 16:] & 15) << 4",
            "q[..., 16:] & 15 | (q[..., :16] & 15) << 4",
            "halves",
        ),
        ("blocks", "-(zero * scale)", "(zero * scale)", "the sign of the minimum"),
        ("blocks", 'bitorder="little"', 'bitorder="big"', "the fifth bit"),
    ),
    *of("prequantized/gptq.py", "prequantized")(
        ("GPTQ.zeros", "if self._less_one else", "if not self._less_one else", "zeros less one"),
        ("GPTQ.zeros", "(zeros + 1) & self.high", "zeros + 1", "a zero that wraps"),
        ("GPTQ.__init__", "0 <= int(groups.min()) <= int(groups.max()) < count", "True", "groups that are not there"),
        ("GPTQ.__init__", "groups = g_idx.array().astype(np.intp)", "pass", "columns in another order"),
    ),
    *of("prequantized/awq.py", "prequantized")(
        ("", "[0, 4, 1, 5, 2, 6, 3, 7]", "[0, 2, 4, 6, 1, 3, 5, 7]", "the order of nibbles"),
    ),
    *of("prequantized/bnb.py", "prequantized")(
        ("FourBit.floats", "place & 1, 0, 4", "place & 1, 4, 0", "the first code of a byte"),
        ("FourBit._scales", " + offset", "", "the offset of double quantization"),
        ("FourBit.__init__", "packed.nbytes != -(-count // 2)", "False", "a shape that lies"),
        ("Int8.__init__", "np.float32(127)", "np.float32(128)", "the scale of INT8"),
    ),
    *of("prequantized/compressed.py", "prequantized")(
        ("packed", "point.array().T", "point.array()", "zeros packed along rows"),
        ("_zeros", "1 << bits - 1", "1 << bits", "the middle of the range"),
        ("_zeros", ".astype(np.int16) + middle", ".astype(np.int16)", "zeros about 0"),
        ("_block", 'if strategy == "group" else -1', "if False else -1", "FP8 in groups"),
        ("Scaled.codes", "if codes.size and not", "if False and not", "numbers beyond their bits"),
    ),
    *of("prequantized/modelopt.py", "prequantized")(
        ("sources", "if found != ALGORITHM:", "if False:", "other algorithms of ModelOpt"),
    ),
    *of("prequantized/__init__.py", "prequantized")(
        ("sources", "if tensor.dtype in FP8:", "if False:", "weights in FP8 without a scale"),
    ),
    *of("prequantized/fp8.py", "prequantized")(
        ("FP8.floats", "rows // self._rows", "rows % 1", "blocks of rows"),
        ("FP8.__init__", "np.arange(columns) // block[1]", "np.arange(columns) * 0", "blocks of columns"),
    ),
    *of("plan.py", MODELS, REFUSALS, "prequantized")(
        ("plan", "if source.shape != shape:", "if False:", "shapes"),
        ("plan", "if unknown := sources.keys() - empty", "if unknown := set()", "tensors that are not known"),
        ("_tied", "head.same(embedding)", "True", "a head that is not the embedding"),
        ("plan", "or slot.source in empty", "", "biases of zeros"),
        ("_item", "taken=fmt in holding", "taken=False", "whole numbers taken over"),
        ("_item", "if shape[-1] % FORMATS[fmt].block:", "if False:", "rows that are no whole blocks"),
    ),
    *of("output.py", MODELS, REFUSALS, "prequantized")(
        ("_values", "if item.plus:", "if False:", "one more in Gemma's norms"),
        ("_values", "if not np.isfinite(values).all():", "if False:", "numbers that are not finite"),
        ("chunks", "item.shape[0], start + step", "item.shape[0], start + step - 1", "rows of a chunk"),
        ("_Sums.add", "self.square += float(off @ off)", "pass", "the error of an import"),
        ("write", "checkpoint.check_unchanged()", "pass", "a checkpoint that changes"),
        ("losses", "errors[i.name].rms > 2 * most", "False", "the warning of numbers too small for their type"),
    ),
    *of("naming.py", "naming")(
        ("parts", "while base and read", "while False and read", "versions at the end"),
        ("parts", 'if any(kind == "size_label"', 'if False and any(kind == "size_label"', "sizes in words"),
        ("_read", "if off > 7 * weights / 8:", "if False:", "lengths of texts that look like sizes"),
    ),
    *of("card.py", "naming")(
        ("front_matter", "listing = None  # something nested", "pass", "nested values"),
        ("front_matter", "and len(listing) < MOST", "", "lists without an end"),
        ("_plain", "set(value) & SIGNS", "False", "values that are more than text"),
        ("_origin", 're.fullmatch(r"\\w[\\w.-]*", owner)', "owner", "paths of folders as owners"),
    ),
    *of("vocab/pre.py", "pretokenizer_names")(
        ("names", "if not _otherwise(s, wanted, TEXTS)", "if True", "patterns that differ"),
        ("names", "row.whole_words != whole_words", "False", "whole words"),
        ("names", "off[row.stages], clean, place", "off[row.stages], False, place", "clean spaces"),
    ),
    *of("vocab/spm.py", VOCAB)(
        ("from_json", "-float(ranks[text])", "float(ranks[text])", "the order of merges"),
        ("from_model", 'text.replace("▁", " ") if kind', "text if kind", "spaces of user-defined pieces"),
        ("Model.keeps", "text == token.text and kind in (UNKNOWN, CONTROL, BYTE)", "False", "the model's own specials"),
        ("Model.keeps", "kind in (UNKNOWN, CONTROL, BYTE)", "True", "what tokenizer.json calls special"),
        ("from_model", "if model.kind != BPE:", "if False:", "unigram vocabularies"),
        ("_prepends", 'step.get("type") == "Prepend"', "False", "the space in front"),
        ("_varint", "value |= (byte & 127) << shift", "value |= byte & 127", "numbers over 127"),
    ),
    *of("vocab/bpe.py", VOCAB)(
        ("from_json", "if i in more:", "if i in more and i in own:", "added tokens"),
        ("from_json", "if kind_of not in NORMALIZERS:", "if False:", "normalizers"),
    ),
    *of("vocab/special.py", VOCAB)(
        ("roles", 'adds.setdefault("bos", False)', "pass", "BPE without a bos"),
        ("roles", 'adds["bos"] = first in', 'adds["bos"] = first not in', "the token before a text"),
        ("more_ends", "if named and EOS not in keys:", "if False:", "an eos that runtimes know by its name"),
        ("roles", "listed[0] if token is None", "listed[-1] if token is None", "the first of several"),
        ("roles", "if text not in places:", "if False:", "names that are no tokens"),
        ("_ids", "len(kept) < len(listed) and", "False and", "ids that are no tokens"),
        ("_ids", "type(entry) not in (int, list)", "False", "ids of another kind"),
        ("_text", "if entry is not None and not", "if False and not", "names of another kind"),
        ("more_ends", "if EOS not in keys | out and not", "if False and not", "a model that nothing ends"),
        ("more_ends", "if token in known.end_ids:", "if True:", "more ends of a generation"),
    ),
    *of("vocab/template.py", VOCAB)(
        ("templates", "if alone is not None:", "if False:", "a template in a file"),
        ("keys", "notes += faults(found)", "pass", "templates that no chat works with"),
        ("keys", '"[^A-Za-z0-9]"', '"$^"', "names of templates"),
    ),
    *of("vocab/probe.py", VOCAB)(
        ("differences", "if wanted != made:", "if False:", "ids that differ"),
    ),
    *of("vocab/pieces.py", VOCAB)(
        ("one_id", "if first != second:", "if False:", "two tokens with one id"),
        ("replaced", "if not lost:", "if True:", "tokens that added ones take the place of"),
        ("Added.type", "self.special or looks_special(self.text)", "self.special", "tokens that look special"),
    ),
]
