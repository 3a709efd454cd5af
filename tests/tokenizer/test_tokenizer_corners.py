"""Vocabularies that are odd in one respect, and names that mean something: what goldens do not reach."""

from __future__ import annotations

import re

import pytest

from edgeq.errors import TokenizerError
from edgeq.tokenizer import from_gguf, splitter
from edgeq.tokenizer.bpe import BPETokenizer
from edgeq.tokenizer.pretokenizers import PRETOKENIZERS
from edgeq.tokenizer.special import CONTROL, NORMAL, USER_DEFINED
from edgeq.tokenizer.splitter import Splitter, class_view, compiled
from edgeq.tokenizer.spm import SPMTokenizer
from tests.tokenizer import test_spm, test_wpm
from tests.tokenizer.bpe_cases import vocabulary

# As in src/llama-vocab.cpp of llama.cpp (MIT).
ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<｜end▁of▁sentence｜>", "[e~[",
)  # fmt: skip
ROLES = {
    "eot": """
    <|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> _<EOT> [EOT]
    <｜end▁of▁sentence｜> <end_of_utterance>
    """,
    "eom": """
    <|eom_id|>
    """,
    "fim_pre": """
    <|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|>
    """,
    "fim_suf": """
    <|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|>
    """,
    "fim_mid": """
    <|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|>
    """,
    "fim_pad": """
    <|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]
    """,
    "fim_rep": """
    <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>
    """,
    "fim_sep": """
    <|file_sep|>
    """,
}
SHOWN = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"]
# Blocks of Unicode whose characters are Han.
HAN = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0x2CEB0, 0x2EBEF), (0x2F800, 0x2FA1F),
)  # fmt: skip

# --- roles, ends and what is shown --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENDS)
def test_a_token_with_the_name_of_an_end_ends_an_answer(name: str) -> None:
    """Whatever the file says of its type, and whichever ids it gives to roles."""
    t = from_gguf(vocabulary("<e>", "<t>", name, token_type=[NORMAL] * 259, eos_token_id=256, eot_token_id=257))
    assert t.end_ids == {256, 257, 258}
    assert t.token_bytes(258) == b""


@pytest.mark.parametrize(("role", "name"), [(r, n) for r, names in ROLES.items() for n in names.split()])
def test_a_token_with_the_name_of_a_role_has_it_and_is_not_shown(role: str, name: str) -> None:
    t = from_gguf(vocabulary(name, token_type=[NORMAL] * 257))
    assert t.roles[role] == 256
    assert t.token_bytes(256) == b""
    assert (256 in t.end_ids) == (role in ("eot", "eom", "fim_pad", "fim_rep", "fim_sep") or name in ENDS)


@pytest.mark.parametrize("name", SHOWN)
def test_channels_of_harmony_are_part_of_the_text(name: str) -> None:
    t = from_gguf(vocabulary(name, token_type=[NORMAL] * 256 + [CONTROL]))
    assert t.token_bytes(256) == name.encode()


def test_default_ids() -> None:
    """Where the file names none: those of llama.cpp, as far as there are so many tokens."""
    plain = [f"p{i}" for i in range(110)]
    assert from_gguf(vocabulary()).bos_id == from_gguf(vocabulary()).eos_id == 11
    glm = from_gguf(vocabulary(pre="glm4"))
    assert (glm.bos_id, glm.eos_id) == (None, 11)
    wpm = from_gguf({"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": plain})
    assert (wpm.bos_id, wpm.unk_id, wpm.sep_id, wpm.pad_id, wpm.mask_id) == (101, 100, 102, 0, 103)
    spm = from_gguf({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": plain})
    assert (spm.bos_id, spm.eos_id, spm.unk_id) == (1, 2, 0)
    ugm = from_gguf({"tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": plain})
    assert (ugm.bos_id, ugm.eos_id, ugm.unk_id, ugm.pad_id) == (None, 1, 2, 0)
    assert from_gguf(test_wpm.vocabulary(["▁a"])).encode("a") == [2, 4, 3]


@pytest.mark.parametrize(("key", "role"), [("prefix", "fim_pre"), ("suffix", "fim_suf"), ("middle", "fim_mid")])
def test_old_names_of_fill_in_the_middle_keys_are_read(key: str, role: str) -> None:
    assert from_gguf(vocabulary("x1", "x2", **{f"{key}_token_id": 257})).roles[role] == 257
    both = {f"{key}_token_id": 257, f"{role}_token_id": 256}
    assert from_gguf(vocabulary("x1", "x2", **both)).roles[role] == 257


def test_a_role_with_the_id_behind_the_last_is_left_out_with_a_warning() -> None:
    for found in (256, -1, 1 << 31):
        t = from_gguf(vocabulary(bos_token_id=found, mask_token_id=255))
        assert (t.bos_id, t.mask_id) == (11, 255)
        assert [w for w in t.warnings if f"bos_token_id is {found}, but the vocabulary has 256 tokens" in w]


# --- pieces -------------------------------------------------------------------------------------------------


def test_a_piece_that_is_no_utf_8_stands_for_its_bytes() -> None:
    piece = b"\xff\xfe".decode("utf-8", "surrogateescape")
    for table in (
        vocabulary(piece, token_type=[NORMAL] * 256 + [USER_DEFINED]),
        test_spm.vocabulary([*test_spm.BYTES, piece], token_type=[2, 3, 3, *[6] * 256, USER_DEFINED]),
    ):
        t = from_gguf(table)
        last = t.n_vocab - 1
        assert t.token_bytes(last) == b"\xff\xfe"
        assert t.ids[piece] == last
        assert t.encode(b"a\xff\xfeb", add_special=False).count(last) == 1


@pytest.mark.parametrize("merge", ["a ", " a", "a", "", "ab", " "])
def test_a_merge_that_is_not_two_texts_is_refused(merge: str) -> None:
    with pytest.raises(TokenizerError, match="two texts"):
        from_gguf(vocabulary("ab", merges=("a b", merge)))


def test_of_equal_merges_the_first_counts() -> None:
    t = from_gguf(vocabulary("ab", "bc", merges=("a b", "b c", "a b")))
    assert isinstance(t, BPETokenizer)
    assert [t.pieces[i] for i in t.encode("abc")] == ["ab", "c"]
    assert t._merge.library([b"a", b"b", b"c"]) == t.encode("abc")


def test_long_text_is_cut_where_no_piece_reaches_across() -> None:
    """Pieces that hold a '▁' behind one, two and three characters; and words on both sides of every border."""
    pieces = [*"abcde", "▁", "a▁", "▁a", "b▁c", "cd▁e", "▁▁", "a▁b▁c", "e▁"]
    table = test_spm.vocabulary(pieces, [float(i % 7) for i in range(len(pieces))])
    words = ["a", "b", "c", "cd", "e", "", "ab", "ea", "dcd"]
    text = " ".join(words[(i * i + i // 5) % len(words)] for i in range(6000))
    cut, whole = from_gguf(table), from_gguf(table)
    assert isinstance(cut, SPMTokenizer)
    assert isinstance(whole, SPMTokenizer)
    whole._cut = re.compile("(?!)")  # nowhere
    assert cut.encode(text) == whole.encode(text)
    assert cut._cut is not None


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), HAN)
def test_borders_of_the_han_blocks(first: int, last: int) -> None:
    han = {splitter.HAN_LETTER, splitter.HAN_REST}
    assert {class_view(chr(first)), class_view(chr(last))} <= han
    around = {first - 1, last + 1} - {p for a, b in HAN for p in (a, b)}
    assert not {class_view(chr(point)) for point in around} & han


@pytest.mark.parametrize("n", [1, 511, 513, 1023, 1025, 1026, 1537, 2000, 5000])
@pytest.mark.parametrize("end", ["x", "\nx", " ", ""])
def test_long_runs_of_blanks_are_cut_as_the_pattern_cuts_them(n: int, end: str) -> None:
    pre = PRETOKENIZERS["jais-2"]
    text = "a" + " " * n + end + " b"
    assert list(Splitter(pre).words(text)) == [w for w in compiled(pre.stages[0].pattern).split(text) if w]


# --- special tokens and ids ---------------------------------------------------------------------------------


def test_a_special_token_is_found_behind_its_own_beginning() -> None:
    t = from_gguf(vocabulary("<<<<x", token_type=[NORMAL] * 256 + [USER_DEFINED]))
    for n in range(4, 13):
        assert t.encode("<" * n + "x")[-1] == 256


@pytest.mark.parametrize("token", [-1, -257, 257, 1 << 40])
def test_an_id_that_is_no_token_is_refused(token: int) -> None:
    with pytest.raises(TokenizerError, match="ids 0 to 256"):
        from_gguf(vocabulary("x" * 3)).token_bytes(token)


def test_bytes_that_are_no_text_are_seen() -> None:
    bpe, spm = from_gguf(vocabulary()), from_gguf(test_spm.vocabulary([*test_spm.BYTES, "▁"]))
    assert bpe.decode(bpe.encode(b"a\xffb")) == spm.decode(spm.encode(b"a\xffb")) == "a\ufffdb"


def test_half_a_character_is_seen() -> None:
    t = from_gguf(vocabulary())
    assert t.decode(t.encode("aä")[:-1]) == "a\ufffd"


def test_of_spaces_in_front_of_a_text_one_is_taken_off() -> None:
    t = from_gguf(test_spm.vocabulary([*test_spm.BYTES, "▁▁▁", "▁", "▁a"]))
    assert t.decode([t.ids["▁▁▁"]]) == "  "
    assert t.decode([t.ids["▁"], t.ids["▁a"]]) == " a"


def test_of_equal_pieces_the_first_has_the_text_and_an_empty_one_has_none() -> None:
    t = from_gguf(vocabulary("ab", "", "ab", "\0", merges=("a b",)))
    assert t.ids["ab"] == 256
    assert t.encode("ab") == [256]
    assert "" not in t.ids
    assert "\0" not in t.ids
    assert any("repeat" in warning for warning in t.warnings)


@pytest.mark.parametrize("piece", ["<0x41>x", "x<0x41>", "<0x4>", "<0xgg>", "<0x4a>", "A", ""])
def test_a_byte_token_is_spelled_as_one(piece: str) -> None:
    with pytest.raises(TokenizerError, match="<0x00> to <0xFF>"):
        from_gguf(test_spm.vocabulary(["a", piece], token_type=[2, 3, 3, 1, 6]))
