"""BPE vocabularies that are broken, odd or made to hurt: refused by name, or loaded with a warning."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq import gguf
from edgeq.errors import EdgeqError, TokenizerError
from edgeq.tokenizer import from_gguf
from edgeq.tokenizer.merges import Merger, guarded
from edgeq.tokenizer.special import CONTROL, NORMAL
from tests.tokenizer import bpe_cases
from tests.tokenizer.bpe_cases import BYTES, vocabulary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "tokenizer.ggml.model: missing"),
        ({"model": "bpe\x1b[2J"}, r"'bpe\\x1b\[2J' is unknown; known are llama, gpt2"),
        ({"model": 3}, "tokenizer.ggml.model: expected a string, found int 3"),
        ({"tokens": None}, "tokenizer.ggml.tokens: missing or empty"),
        ({"tokens": []}, "tokenizer.ggml.tokens: missing or empty"),
        ({"tokens": [1, 2]}, "tokenizer.ggml.tokens: expected an array of strings"),
        ({"tokens": "abc"}, "tokenizer.ggml.tokens: expected an array of strings, found str abc"),
        ({"token_type": [1, 2]}, "token_type: expected 256 values, one for each token, found 2"),
        ({"token_type": ["1"] * 256}, "token_type: expected an array of numbers"),
        ({"pre": "no-such"}, "tokenizer.ggml.pre: 'no-such' is unknown; known are a.x-4.0, "),
        ({"pre": 1}, "tokenizer.ggml.pre: expected a string"),
        ({"merges": None}, "tokenizer.ggml.merges: missing"),
        ({"merges": ["ab"]}, r"merges\[0\]: expected two texts .* found 'ab'"),
        ({"merges": ["a b", "a "]}, r"merges\[1\]: expected two texts"),
        ({"merges": [" b"]}, r"merges\[0\]: expected two texts"),
        ({"merges": [""]}, r"merges\[0\]: expected two texts"),
        ({"merges": ["a \udcff"]}, r"merges\[0\]: expected two texts in UTF-8"),
        ({"merges": [1]}, "merges: expected an array of strings"),
        ({"merges": 7}, "merges: expected an array of strings, found int 7"),
        ({"bos_token_id": "1"}, "bos_token_id: expected a token id, found str 1"),
        ({"eos_token_id": True}, "eos_token_id: expected a token id, found bool True"),
        ({"add_bos_token": 1}, "add_bos_token: expected a bool, found int 1"),
        ({"token_type": [6] * 256}, "token 0: a byte token reads <0x00> to <0xFF>"),
    ],
)
def test_a_broken_vocabulary_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        from_gguf(vocabulary(**change))


def test_types_of_arrays_in_the_file_are_checked() -> None:
    with gguf.open(bpe_cases.VOCABS / "bpe.gguf") as g:

        class Lying(dict[str, Any]):
            def type(self, key: str) -> str:
                return "array[u8]" if key.endswith("token_type") else g.metadata.type(key)

        with pytest.raises(
            TokenizerError, match=r"token_type: expected an array of i32, found array\[u8\]"
        ):
            from_gguf(Lying(g.metadata))


def test_odd_but_harmless_vocabularies_load_with_a_warning() -> None:
    t = from_gguf(
        vocabulary(
            *("a", "", "\udcff", "x" * 16000),
            **{"bos_token_id": 10**9, "eos_token_id": -1, "pre": None, "add_bos_token": True},
        )
    )
    assert (t.bos_id, t.eos_id) == (11, 11)  # llama.cpp's defaults
    assert t.encode("a") == [11, BYTES.index("a")]
    about = sorted(re.match(r"tokenizer\.ggml\.(\w+)", w)[1] for w in t.warnings)  # type: ignore[index]
    assert about == ["bos_token_id", "eos_token_id", "pre", "tokens"]
    assert t.token_bytes(257) == b""
    assert t.decode([258]) == "\ufffd"
    assert Merger({b"a": 0, b"\xff": 1}, []).library([b"a"]) == [0]


def test_a_vocabulary_of_one_token_loads() -> None:
    t = from_gguf({**vocabulary(tokens=["a"], add_bos_token=True)})
    assert (t.n_vocab, t.encode("aba"), t.bos_id) == (1, [0, 0], None)
    assert any("bos" in warning for warning in t.warnings)


def test_odd_token_types_count_as_undefined() -> None:
    t = from_gguf(vocabulary(token_type=[1] * 250 + [-1, 7, 255, 256, 2**31 - 1, -(2**31)]))
    assert list(t.types[250:]) == [0] * 6
    assert t.token_bytes(251) == b""


@pytest.mark.parametrize("token", [-1, 256, 2**31, -(2**63)])
def test_ids_outside_the_vocabulary_are_refused(token: int) -> None:
    with pytest.raises(TokenizerError, match="ids 0 to 255"):
        from_gguf(vocabulary()).token_bytes(token)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_random_metadata_gives_a_tokenizer_or_our_error(data: st.DataObject) -> None:
    scalar = st.one_of(
        st.none(),
        st.integers(-5, 2**70),
        st.floats(),
        st.booleans(),
        st.text(max_size=5),
        st.binary(max_size=3),
    )
    array = st.lists(
        st.one_of(
            st.text("ab \0é", max_size=4), st.sampled_from(["a b", "a ab", "\udc80", "<0x41>"])
        ),
        max_size=9,
    )
    kinds = st.lists(st.integers(-2, 9), max_size=9)
    keys = (
        "tokens",
        "token_type",
        "merges",
        "pre",
        "bos_token_id",
        "eot_token_id",
        "add_bos_token",
        "scores",
    )
    names = st.sampled_from(["gpt-2", "llama3", "gemma4", "mmbert", "whitespace", "kimi-k2"])
    table = vocabulary(
        **{
            k: data.draw(st.one_of(scalar, array, kinds, names))
            for k in keys
            if data.draw(st.booleans())
        }
    )
    try:
        t = from_gguf(table)
        t.decode(t.encode(data.draw(st.text(max_size=20))))
    except EdgeqError:
        pass


def test_a_panic_of_the_library_becomes_our_error() -> None:
    class PanicError(BaseException):
        """Like pyo3's PanicException, no Exception."""

    def panic() -> None:
        raise PanicError("index out of bounds")

    with pytest.raises(TokenizerError, match="index out of bounds"):
        guarded(panic)
    with pytest.raises(KeyboardInterrupt):
        guarded(lambda: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_huge_token_was_cut_out_at_every_place_that_begins_alike() -> None:
    """That took the square of its length: hours for 1 MB."""
    long, never = "x" * 300_000, "x" * 300_000 + "y"
    t = from_gguf(vocabulary(long, never, token_type=[NORMAL] * 256 + [CONTROL] * 2))
    started = time.perf_counter()
    a, x = (BYTES.index(c) for c in "ax")
    assert t.encode(f"a{long}x", add_special=False) == [a, 256, x]
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("n", [2, 3, 4, 5, 63, 64, 65, 66])
def test_tokens_of_every_length_are_found(n: int) -> None:
    name = "<" * n
    t = from_gguf(vocabulary(name, token_type=[NORMAL] * 256 + [CONTROL]))
    assert t.encode(f"{name}a{name}{name}", add_special=False) == [256, BYTES.index("a"), 256, 256]
    assert 256 not in t.encode(f"{name[1:]}a", add_special=False)
