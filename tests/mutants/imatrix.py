"""Mutants of importance matrices: their files, their arithmetic, and how they are collected."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

FOLDER = "tests/imatrix"


def imatrix(file: str, test: str) -> In:
    return In("importance matrices", f"edgeq/imatrix/{file}.py", (f"{FOLDER}/test_imatrix_{test}.py",))


MUTANTS: list[Mutant] = [
    *imatrix("matrix", "matrix")(
        ("Entry.__init__", "(values < 0).any()", "False", "numbers under zero taken"),
        ("Entry.__init__", "not np.isfinite(found).all()", "False", "numbers that are none taken"),
        ("Entry.shaped", "self.counts.repeat(matrices)", "self.counts.repeat(n)", "counts of columns"),
        ("Entry.shaped", "len(self.counts) != 1 or", "", "experts read in another order"),
        ("Entry.means", "self.counts[:, None] > 0", "self.counts[:, None] > 1", "single tokens left out"),
        ("Entry.means", "np.ones_like", "np.zeros_like", "experts that nothing reached count for nothing"),
        ("Entry.floats", "means.max() > most", "False", "means that float32 cannot hold"),
        ("ImportanceMatrix.importance", "not found.reached().any()", "False", "entries that say nothing"),
        ("Entry.reached", "(self.counts > 0) & ", "", "entries without a count"),
        ("Entry.reached", "& self.sums.any(axis=1)", "", "entries of zeros"),
        ("ImportanceMatrix.importance", "means[0] if matrices == 1 else means", "means", "a row too many"),
        ("merge", "math.ceil(tokens / size)", "sum(m.chunk_count for m in matrices)", "chunks of several sizes"),
        ("_sum", "left.counts + right.counts", "left.counts", "counts of the first alone"),
        ("_sum", "left.signed_sums + right.signed_sums", "left.signed_sums", "sums of the first alone"),
    ),
    *imatrix("files", "files")(
        ("_read", 'kind != "imatrix"', "False", "models read as matrices"),
        ("_read", "name.removesuffix(suffix)", "name", "every tensor a weight of its own"),
        ("_number", "not 0 <= value <= LIMIT", "False", "numbers of chunks under zero"),
        ("_number", "isinstance(value, bool) or", "", "truth taken for a number"),
        ("_entry", "entry.floats()", "pass", "means that float32 cannot hold"),
        ("_entry", 'tensor.format.name != "F32"', "False", "halves read as floats"),
        ("_write", "entry.counts[:, None]", "entry.counts", "counts in one row"),
        ("_write", 'gguf.Value("u32", matrix.chunk_size)', 'gguf.Value("u64", matrix.chunk_size)', "another type"),
    ),
    *imatrix("datfile", "files")(
        ("opened", "not stat.S_ISREG(os.fstat(fd).st_mode)", "False", "folders and FIFOs read"),
        ("_Cursor.bytes", "n > self.left", "False", "what is cut off taken for what it was to be"),
        ("_Cursor.number", "not low <= value <= high", "False", "any number taken"),
        ("load", "name in entries", "False", "an entry that replaces another"),
        ("load", "if cursor.left:\n            raise", "if False:\n            raise", "what is behind it passed over"),
        ("_entry", "[calls * chunk_size]", "[calls]", "counts in chunks"),
        ("_named", "-(-tokens // matrix.chunk_size)", "tokens // matrix.chunk_size", "no calls for half a chunk"),
        ("_named", "entry.means() * calls", "entry.means()", "means not times calls"),
        ("save", "file.commit()", "file.discard()", "nothing written"),
        ("as_floats", "not np.isfinite(rounded).all()", "False", "infinite numbers written"),
    ),
    *imatrix("stats", "matrix")(
        ("_tensor", "np.log2(share)", "np.log(share)", "entropy in another unit"),
        ("_tensor", "[-max(1, round(TOP * len(x))) :]", "[: max(1, round(TOP * len(x)))]", "the smallest columns"),
        ("_tensor", "entry.means()[counted]", "entry.means()", "ones of experts that nothing reached"),
        ("_warnings", "(counts > 0) & (counts < RARE", "(counts < RARE", "experts never reached called rare too"),
        ("_warnings", "entry.sums[reached]", "entry.sums", "columns of experts whose inputs were all zero"),
        ("_by_layer", "int(number)", "0", "layer 10 before layer 9"),
    ),
    *imatrix("collecting", "collect")(
        ("Collector.__init__", 'name.startswith("blk.")', "True", "the logits' weight always"),
        ("Collector.add", "at, outputs=range(len(part))", "0, outputs=range(len(part))", "every step from position 0"),
        ("Collector.add", "outputs=range(len(part))", "outputs=[len(part) - 1]", "the last layer's last row alone"),
        ("Collector.add", "not np.isfinite(total).all()", "False", "numbers that are none summed up"),
        ("Collector.matrix", "self.chunks * self.chunk_size", "self.chunks", "chunks counted, not tokens"),
        ("Collector.matrix", "signed, squares = ", "squares, signed = ", "sums taken for squares"),
        ("chunks_of", "range(first,", "range(0,", "no chunk left out"),
        ("chunks_of", "first + count", "count", "fewer chunks than asked for"),
        ("_chunk", "[bos, *chunk[1:]]", "[bos, *chunk[:-1]]", "BOS before the first token, not in its place"),
        ("_chunk", "if model.tokenizer.add_bos else None", "", "BOS for vocabularies without"),
        ("tokenize", "parse_special=parse_special", "parse_special=True", "special tokens always parsed"),
    ),
]  # fmt: skip
