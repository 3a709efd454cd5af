"""Streaming: the pieces joined are the whole text, and no piece holds half a character."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import TokenizerError
from edgeq.tokenizer import Tokenizer, from_gguf
from edgeq.tokenizer.special import BYTE, CONTROL, USER_DEFINED
from edgeq.tokenizer.stream import TextStream
from tests.tokenizer import texts, variants

KINDS = ["spm", "wpm", "ugm"]


def joined(stream: TextStream, ids: list[int]) -> str:
    return "".join([stream.feed(token) for token in ids]) + stream.flush()


def byte_ids(tok: Tokenizer, data: bytes) -> list[int]:
    return [tok.ids[f"<0x{b:02X}>"] for b in data]


@pytest.mark.parametrize("vocab", KINDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_streamed_tokens_joined_are_the_whole_text(vocab: str, data: st.DataObject) -> None:
    tok = variants.tokenizer(vocab)
    any_token = st.integers(0, tok.n_vocab - 1)
    bytes_of_some = st.sampled_from([i for i, kind in enumerate(tok.types) if kind == BYTE] or [0])
    ids = data.draw(st.lists(any_token | bytes_of_some, max_size=30))
    special, at_start = data.draw(st.booleans()), data.draw(st.booleans())
    whole = b"".join(tok.token_bytes(token, special) for token in ids).decode("utf-8", "replace")
    text = joined(TextStream(tok, at_start, special), ids)
    assert text == whole or (at_start and " " + text == whole)
    if at_start:
        assert text == tok.decode(ids, special)


@given(st.lists(st.integers(0, 255) | st.sampled_from(list("é中😀".encode())), max_size=24))
@settings(max_examples=300, deadline=None)
def test_bytes_that_cannot_be_utf8_become_what_decoding_the_whole_gives(data: list[int]) -> None:
    tok = variants.tokenizer("spm", "gemma")
    stream = tok.stream()
    whole = bytes(data).decode("utf-8", "replace")
    so_far = ""
    for n, token in enumerate(byte_ids(tok, bytes(data)), 1):
        so_far += stream.feed(token)
        assert so_far == codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(data[:n]))
        assert whole.startswith(so_far), "nothing that was given out is ever taken back"
    assert so_far + stream.flush() == whole


def test_half_a_character_is_held_back() -> None:
    tok = variants.tokenizer("spm", "gemma")
    stream = tok.stream()
    assert [stream.feed(token) for token in byte_ids(tok, "é😀".encode())] == ["", "é", "", "", "", "😀"]
    assert stream.flush() == ""
    assert [stream.feed(token) for token in byte_ids(tok, b"\xf0\x9fa")] == ["", "", "�a"]
    assert stream.feed(byte_ids(tok, b"\xe2")[0]) == ""
    assert stream.flush() == "�"


def test_the_space_before_a_text_is_taken_off_once() -> None:
    tok = variants.tokenizer("spm", "llama")
    ids = tok.encode("the of")
    assert ids[0] == tok.bos_id
    assert tok.token_bytes(ids[1]).startswith(b" ")
    assert tok.decode(ids) == tok.decode(ids[1:]) == "the of"
    assert joined(tok.stream(at_start=False), ids) == " the of", "the answer to a prompt keeps its space"
    assert tok.decode(tok.encode(" the")) == " the"
    assert tok.decode(ids + ids) == "the of the of"
    assert tok.decode(ids, special=True) == "<s> the of"
    gemma = variants.tokenizer("spm", "gemma")
    assert gemma.decode(gemma.encode(" the")) == " the"


def test_a_user_defined_space_is_text() -> None:
    tok = variants.tokenizer("spm", "llama")
    ids = tok.encode("    the")
    assert tok.types[ids[1]] == USER_DEFINED
    assert tok.decode(ids).startswith("    ")


@pytest.mark.parametrize("vocab", KINDS)
def test_control_tokens_write_nothing_unless_asked(vocab: str) -> None:
    tok = variants.tokenizer(vocab)
    controls = [i for i, kind in enumerate(tok.types) if kind == CONTROL]
    assert controls
    assert joined(tok.stream(), controls) == ""
    assert joined(tok.stream(special=True), controls) == "".join(tok.pieces[i] for i in controls)


@pytest.mark.parametrize("vocab", KINDS)
def test_a_token_that_does_not_exist_is_named(vocab: str) -> None:
    tok = variants.tokenizer(vocab)
    for token in (-1, tok.n_vocab, 1 << 40):
        with pytest.raises(TokenizerError, match=str(token)):
            tok.stream().feed(token)


def test_a_vocabulary_without_word_spaces_streams_too() -> None:
    tok = from_gguf({"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": ["▁a", "b", "▁."]})
    assert joined(tok.stream(), [0, 1, 2]) == "ab ."


def test_streams_of_generated_texts_give_the_text_back() -> None:
    tok = variants.tokenizer("spm", "gemma")
    for text in texts.texts(61, 200):
        if "▁" not in text:
            assert joined(tok.stream(), tok.encode(text, add_special=False, parse_special=False)) == text
