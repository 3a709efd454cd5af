"""Mutants of the GGUF reader, its checks, the verifier and the writer."""

from __future__ import annotations

from tests.mutants.mutant import In, Mutant

ROOM = "tests/gguf/test_gguf_"


def of(group: str, file: str, *tests: str) -> In:
    return In(f"gguf: {group}", f"edgeq/gguf/{file}", tuple(f"{ROOM}{name}.py" for name in tests))


READ = ("reader", "damage", "hostile")

MUTANTS: list[Mutant] = [
    *of("reader", "header.py", *READ)(
        ("_version", "version not in (2, 3)", "version not in (1, 2, 3)", "version 1"),
        ("_version", "swapped <= 0xFFFF", "False", "big-endian files not named"),
        ("_check_count", "if n > limit", "if False", "counts beyond the limit"),
        ("_metadata", "if key in metadata", "if False", "a key that appears twice"),
        ("_metadata", "limits.MAX_STRINGS - strings", "limits.MAX_STRINGS", "strings over all keys"),
        ("_type_name", "id >= len(TYPES)", "id > len(TYPES)", "type 13"),
        ("_array", 'if kind == "array"', "if False", "nested arrays"),
        ("_array", "n > c.left // width", "n > c.left", "counts of wide elements"),
        ("_check_bools", "if bad:", "if False:", "bools that are neither 0 nor 1"),
        ("_alignment", 'metadata.type(key) != "u32"', "False", "type of the alignment"),
        ("_alignment", "alignment & (alignment - 1)", "alignment & 1", "alignments that are no power of two"),
        ("_tensor_rows", "if name in seen", "if False", "a tensor that appears twice"),
        ("_tensor_rows", "1 <= dim <= limits.MAX_DIM", "0 <= dim <= limits.MAX_DIM", "a dimension of none"),
        ("_tensor_rows", "tuple(reversed(dims))", "tuple(dims)", "shape the wrong way round"),
        ("_place", "row % fmt.block", "0", "rows that are no whole blocks"),
        ("_place", "if offset != due", "if offset < due", "gaps between tensors"),
        ("_place", "start + nbytes > c.size", "start > c.size", "a tensor cut short"),
        ("_place", "-(-(offset + nbytes) // align) * align", "offset + nbytes", "padding between tensors"),
        ("_place", "-(-c.pos // align) * align", "-(-c.pos // 32) * 32", "alignment of the data"),
        ("_fault", "offset % align", "0", "which fault it is"),
        ("read_header", "limits.MIN_KEY_ENTRY, limits.MAX_KEYS", "0.01, limits.MAX_KEYS",
         "keys that the file cannot hold"),
    ),
    *of("reader", "cursor.py", *READ)(
        ("Cursor.ensure", "end > self.size", "end > self.size + 8", "reads past the end"),
        ("Cursor._grow", "end > limits.MAX_HEADER", "False", "headers of any size"),
        ("Cursor.string", "n > self.left", "False", "lengths beyond the file"),
        ("Cursor.label", "1 <= n <= longest", "0 <= n <= longest", "empty names"),
        ("Cursor.label", 'b"\\0" in raw', "False", "NUL in a name"),
        ("Cursor.label", "except UnicodeDecodeError:\n            raise",
         "except UnicodeDecodeError:\n            return raw.decode('latin-1')\n            raise",
         "names that are not UTF-8"),
        ("Cursor.u64", "self.pos += 8", "self.pos += 4", "place after a length"),
    ),
    *of("reader", "part.py", "reader", "faults", "hostile")(
        ("_open", "not stat.S_ISREG(mode)", "stat.S_ISDIR(mode)", "FIFOs and devices"),
        ("_FLAGS", 'getattr(os, "O_NONBLOCK", 0)', "0", "waits for the writer of a FIFO"),
        ("Part.__init__", "if self.changed()", "if False", "a file that changes while it is opened"),
        ("Part.changed", "self._stat() != self.fingerprint", "self._stat()[2] != self.fingerprint[2]",
         "a file written over"),
        ("Part.read", "len(out) < n", "False", "a file that became shorter"),
        ("Part._next", "while len(out) < n", "while not out", "short reads"),
        ("Part.map", "if self._map is None", "if False", "a closed file"),
        ("Part.__init__", "except MemoryError", "except ZeroDivisionError", "no memory"),
    ),
    *of("reader", "reader.py", *READ[:1], "split")(
        ("Tensor.data", "self.nbytes, self.offset", "self.nbytes, self.offset - self.offset % 64",
         "place of a tensor"),
        ("Tensor.address", "+ self.offset", "+ 0", "address of a tensor"),
        ("_warnings", "if extra <= 0", "if extra >= 0", "rubbish at the end not named"),
        ("GGUFFile.changed", "any(part.changed()", "all(part.changed()", "one of several parts changed"),
    ),
    *of("reader", "arrays.py", "reader", "faults")(
        ("scan_python", "ends.pop()", "pass", "a string that runs past the data"),
        ("scan_python", "at += 8 + unpack", "at += 4 + unpack", "length of a length"),
        ("StringArray.bytes_at", "self._ends[i - 1] + 8 if i else 8", "self._ends[i - 1] + 8",
         "first string"),
        ("StringArray.__iter__", '"surrogateescape"', '"replace"', "strings that are not UTF-8"),
        ("NumberArray.numpy", '"d": "f"', '"d": "i"', "doubles as integers"),
        ("NumberArray.__getitem__", "self._view[index].tolist()", "self._view[index]", "slices as views"),
    ),
    *of("split models", "split.py", "split", "hostile")(
        ("part_name", "{index + 1:05d}", "{index:05d}", "parts counted from 0"),
        ("_number", "metadata.type(key) != KEYS[key]", "False", "types of split keys"),
        ("_count", "count is None and index is not None", "False", "split.no without split.count"),
        ("_prefix", "count > limits.MAX_PARTS", "False", "any number of parts"),
        ("_prefix", "if index >= count", "if False", "a part beyond the last"),
        ("_check_tensors", "if info.name in seen", "if False", "a tensor in two parts"),
        ("_check_tensors", "total != len(seen)", "total > len(seen)",
         "more tensors than the first part says"),
    ),
    *of("verifier", "checks.py", "verify")(
        ("_weights", "count += len(blocks)", "count = len(blocks)", "blocks of all pieces"),
        ("_weights", "at // block + int(blocks[0])", "int(blocks[0])", "number of the first bad block"),
        ("_text", "first // per_row", "first % per_row", "row of the first bad block"),
        ("_strings", '== "string"', '== "none"', "strings that are not UTF-8"),
        ("verify", "if g.changed()", "if False", "a file that changes meanwhile"),
    ),
    *of("verifier", "oddities.py", "verify", "writer")(
        ("oddities", "if any(part.read(end, pad))", "if False", "padding after a tensor"),
        ("oddities", "if any(part.read(header.table_end", "if any(part.read(header.data_offset",
         "padding before the data"),
        ("_ending", "if extra > padding", "if extra > padding + 8", "rubbish at the end"),
    ),
    *of("writer", "writer.py", "writer", "writer_fails", "split")(
        ("tensor_info", "1 <= n <= limits.MAX_DIM", "0 <= n <= limits.MAX_DIM", "a dimension of none"),
        ("Writer.write", "if name != info.name", "if False", "tensors out of order"),
        ("Writer.write", "bytes(-info.nbytes %", "bytes(info.nbytes %", "padding after a tensor"),
        ("Writer._stream", "if done != info.nbytes", "if done > info.nbytes", "too few bytes"),
        ("Writer._complete", "if self._next < len(self._todo)", "if False", "missing tensors"),
        ("Writer._end", "open(file.path).close()", "pass", "not read back"),
        ("Writer.__exit__", "self._discard()", "pass", "temporary files stay"),
        ("_check_names", "if t.name in seen", "if False", "a tensor given twice"),
        ("_alignment", "not value & (value - 1)", "True", "alignments that are no power of two"),
        ("_groups", "size + padded > max_bytes", "size > max_bytes", "parts larger than asked"),
        ("_groups", "len(groups[-1]) >= max_tensors", "len(groups[-1]) > max_tensors",
         "more tensors than asked"),
        ("_plan", 'if k == "general.alignment"', 'if k == "none"', "alignment of later parts"),
        ("_chunks", '.cast("B")', "", "arrays of floats counted by numbers"),
        ("_Plan.encode", "bytes(-len(head) % self.alignment)", "bytes(-len(head) % 32)",
         "padding of the header"),
    ),
    *of("writer", "encode.py", "writer", "writer_fails")(
        ("encode_table", "*reversed(t.shape)", "*t.shape", "shape the wrong way round"),
        ("encode_table", "offset = -(-end // alignment) * alignment", "offset = end",
         "padding between tensors"),
        ("_scalar_type", "0 <= value < 1 << 32", "0 <= value <= 1 << 32", "4294967296 as u32"),
        ("_common_type", "kinds == {bool}", "kinds == {int}", "arrays of bools"),
        ("_int_type", "high < end", "high <= end", "2147483648 as i32"),
        ("_string", '"surrogateescape"', '"replace"', "strings that are not UTF-8"),
        ("_label", 'b"\\0" in raw[8:]', "False", "NUL in a name"),
        ("_payload", "len(value) != WIDTHS[kind]", "False", "bytes of the wrong width"),
        ("_array", "value.type == inner", "True", "arrays of another type"),
    ),
    *of("writer", "partfile.py", "writer_fails", "writer")(
        ("check_target", "if same:", "if False:", "writing over the file that is read"),
        ("check_target", "if not overwrite", "if False", "files written over unasked"),
        ("PartFile.finish", "os.ftruncate(fd, self.written)", "pass", "reserved space stays"),
        ("PartFile.discard", "os.unlink(self.path)", "pass", "temporary files stay"),
        ("PartFile.write", "view = view[n:]", "view = view[len(view):]", "short writes"),
        ("PartFile._create", "os.O_EXCL", "0", "another writer's file"),
        ("PartFile.commit", "os.replace(self.path, self.target)", "os.link(self.path, self.target)",
         "an existing file is not replaced"),
    ),
    *of("writer", "copying.py", "writer", "split")(
        ("copy", "if k not in SPLIT_KEYS", "", "split keys of a joined model"),
        ("copy", "not whole or first.size > first.header.data_end", "True", "padding at the end"),
        ("_read", "tensor.offset + at", "tensor.offset", "first piece for all"),
        ("copy", "version=g.version", "version=3", "version of the copy"),
    ),
]  # fmt: skip
