"""Tokenizer files as GGUF keys: tokens, types, scores, merges, roles, templates."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.vocab import spm, vocabulary
from edgeq.errors import FormatError, TokenizerError
from edgeq.tokenizer import from_gguf
from edgeq.tokenizer.special import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from models.checkpoints.writer import tokenizer_json
from models.tiny import vocab as tiny

FLAGS = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
TEXTS = ("Hello the world, it's 2024.", "  two\n\nlines ", "Grüße 日本", "the and the in and the on", "")


def folder(tmp_path: Path, **files: Any) -> Checkpoint:
    """A checkpoint of these files; `a__b` stands for a.b."""
    for name, content in {"config__json": {}, **files}.items():
        path = tmp_path / name.replace("__", ".")
        path.parent.mkdir(exist_ok=True, parents=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return Checkpoint(tmp_path)


def keys(checkpoint: Checkpoint, n_vocab: int) -> tuple[dict[str, Any], list[str]]:
    found, notes = vocabulary(checkpoint, n_vocab)
    return {key.removeprefix("tokenizer.").removeprefix("ggml."): value.value for key, value in found.items()}, notes


def plain(found: dict[str, Any]) -> dict[str, Any]:
    return {f"tokenizer.{'' if key.startswith('chat') else 'ggml.'}{key}": value for key, value in found.items()}


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def message(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def sentencepiece(pieces: Sequence[tuple[str, float, int]], kind: int = 2, dummy_prefix: bool = True) -> bytes:
    """A tokenizer.model, field by field."""
    out = b""
    for text, score, type_ in pieces:
        body = message(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
        out += message(1, body + (varint(3 << 3) + varint(type_) if type_ != 1 else b""))
    out += message(2, varint(3 << 3) + varint(kind) + varint(35 << 3) + varint(1))  # byte_fallback
    return out + message(3, message(1, b"identity") + varint(3 << 3) + varint(dummy_prefix))


def llama_pieces() -> list[tuple[str, float, int]]:
    v = tiny.spm(420, gemma=False)
    return list(zip(v.tokens, v.scores, v.types))


def llama_json() -> dict[str, Any]:
    """The same vocabulary as transformers makes it of a tokenizer.model: merges in the order of scores."""
    v = tiny.spm(420, gemma=False)
    ids = {text: i for i, text in enumerate(v.tokens)}
    ranked = sorted(
        (t for t, k in zip(v.tokens, v.types) if k == NORMAL and len(t) > 1), key=lambda t: -v.scores[ids[t]]
    )
    merges = [[t[:i], t[i:]] for t in ranked for i in range(1, len(t)) if t[:i] in ids and t[i:] in ids]
    added = [{**FLAGS, "id": i, "content": v.tokens[i]} for i in range(3)]
    return {
        "version": "1.0", "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "vocab": ids, "merges": merges},
    }  # fmt: skip


def test_byte_level_bpe(tmp_path: Path) -> None:
    settings = {"eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>"}, "add_prefix_space": False}
    found, notes = keys(folder(tmp_path, tokenizer__json=tokenizer_json(), tokenizer_config__json=settings), 272)
    assert notes == []
    assert (found["model"], found["pre"]) == ("gpt2", "qwen2")
    assert found["tokens"][266:] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[PAD269]", "[PAD270]", "[PAD271]"]
    assert found["token_type"][264:] == [NORMAL] * 2 + [CONTROL] * 3 + [UNUSED] * 3
    assert found["merges"][-1] == "Ġt he"
    assert (found["eos_token_id"], found["padding_token_id"]) == (268, 266)
    assert found["add_bos_token"] is False and found["add_space_prefix"] is False


def test_merges_in_either_form_are_the_same(tmp_path: Path) -> None:
    data = tokenizer_json()
    wanted, _ = keys(folder(tmp_path, tokenizer__json=data), 269)
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    assert keys(folder(tmp_path, tokenizer__json=data), 269)[0] == wanted


def test_user_defined_tokens_and_tokens_that_only_look_special(tmp_path: Path) -> None:
    data = tokenizer_json()
    data["added_tokens"][0] |= {"special": False}
    data["added_tokens"].append({**FLAGS, "id": 269, "content": "▁key▁", "special": False})
    found, _ = keys(folder(tmp_path, tokenizer__json=data), 270)
    assert found["token_type"][266] == CONTROL and found["tokens"][266] == "<|endoftext|>"
    assert found["token_type"][269] == USER_DEFINED and found["tokens"][269] == " key "


def test_tokens_without_a_row_are_left_out_and_counted(tmp_path: Path) -> None:
    found, notes = keys(folder(tmp_path, tokenizer__json=tokenizer_json()), 267)
    assert len(found["tokens"]) == 267
    assert any("2 tokens have ids beyond the 267 rows" in note for note in notes)


def listed(*entries: tuple[int, str]) -> list[dict[str, Any]]:
    return [{**FLAGS, "id": token, "content": text} for token, text in entries]


def decoder(*entries: tuple[str, str]) -> dict[str, Any]:
    return {"added_tokens_decoder": {token: {**FLAGS, "content": text} for token, text in entries}}


TWO = "expected an id for each"


@pytest.mark.parametrize(
    ("more", "settings", "words"),
    [
        ({"model": {"th": 5}}, {}, rf"tokenizer\.json: tokens '.' and 'th' have one id, 5; {TWO}"),
        ({"added": listed((266, "<a>"), (266, "<b>"))}, {}, "added_tokens: tokens '<a>' and '<b>' have one id, 266"),
        ({"added": listed((5, "<a>"))}, {}, "tokenizer.json: tokens '.' and '<a>' have one id, 5"),
        ({}, decoder(("7", "<a>"), ("07", "<b>")), "added_tokens_decoder: tokens '<a>' and '<b>' have one id, 7"),
    ],
)
@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_of_two_tokens_with_one_id_one_was_lost(
    tmp_path: Path, kind: str, more: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    data = tokenizer_json() if kind == "bpe" else llama_json()
    data["model"]["vocab"] |= more.get("model", {})
    data["added_tokens"] = more.get("added", data["added_tokens"])
    words = words.replace("'.'", r"'[^']+'")
    with pytest.raises(TokenizerError, match=words):
        keys(folder(tmp_path, tokenizer__json=data, tokenizer_config__json=settings), 420)


def test_of_two_added_tokens_with_one_id_one_was_lost(tmp_path: Path) -> None:
    files = {"tokenizer__model": sentencepiece(llama_pieces()), "added_tokens__json": {"<a>": 421, "<b>": 421}}
    with pytest.raises(TokenizerError, match=r"added_tokens\.json: tokens '<a>' and '<b>' have one id, 421"):
        keys(folder(tmp_path, **files), 422)


@pytest.mark.parametrize("twice", ['"A": 299, "A": 298', '"A": 299, "B": 1, "A": 298'])
def test_of_a_token_with_two_ids_one_was_lost(tmp_path: Path, twice: str) -> None:
    text = json.dumps(tokenizer_json()).replace('"vocab": {', f'"vocab": {{{twice}, ')
    with pytest.raises(FormatError, match=r"tokenizer\.json: .*'A' is there twice, with 29[89] and \d+; expected one"):
        keys(folder(tmp_path, tokenizer__json=text), 300)


def test_a_key_that_is_there_twice_with_one_value_is_no_matter(tmp_path: Path) -> None:
    same = json.dumps(tokenizer_json()).replace('"vocab": {', '"vocab": {"A": 65, ')
    assert tokenizer_json()["model"]["vocab"]["A"] == 65
    found, _ = keys(folder(tmp_path, tokenizer__json=same), 269)
    assert found == keys(folder(tmp_path, tokenizer__json=tokenizer_json()), 269)[0]


def test_tokens_that_added_ones_take_the_place_of_were_lost_silently(tmp_path: Path) -> None:
    settings = decoder(("266", "<a>"), ("267", "<b>"), ("268", "<|im_end|>"), ("5", "<c>"))
    files = {"tokenizer__json": tokenizer_json(), "tokenizer_config__json": settings}
    found, notes = keys(folder(tmp_path / "bpe", **files), 269)
    assert found["tokens"][266] == "<a>"
    assert [note for note in notes if "gives way" in note] == [
        f"token 5 of tokenizer.json, {tokenizer_json_token(5)!r}, gives way to the added token '<c>', and 2 more alike"
    ]
    pieces = [*llama_pieces(), ("<unused>", 0.0, USER_DEFINED)]
    files = {"tokenizer__model": sentencepiece(pieces), "added_tokens__json": {"<pad>": 7, "<a>": 420}}
    _, notes = keys(folder(tmp_path / "spm", **files), 421)
    assert notes == ["token 7 of tokenizer.model, '<0x04>', gives way to the added token '<pad>'"]


def tokenizer_json_token(token: int) -> str:
    return next(text for text, i in tokenizer_json()["model"]["vocab"].items() if i == token)


def test_sentencepiece_model(tmp_path: Path) -> None:
    pieces = [*llama_pieces(), ("[INST]" * 70, 0.0, USER_DEFINED), ("a▁b", 0.0, USER_DEFINED)]
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True,
                "add_eos_token": False}  # fmt: skip
    files = {"tokenizer__model": sentencepiece(pieces), "tokenizer_config__json": settings, "config__json": {},
             "added_tokens__json": {"<pad>": 422}}  # fmt: skip
    found, notes = keys(folder(tmp_path, **files), 424)
    assert notes == []
    assert (found["model"], found["pre"]) == ("llama", "default")
    assert found["tokens"][420:] == ["[INST]" * 70, "a b", "<pad>", "[PAD423]"]
    assert found["token_type"][:4] == [UNKNOWN, CONTROL, CONTROL, BYTE]
    assert found["token_type"][420:] == [USER_DEFINED, USER_DEFINED, USER_DEFINED, UNUSED]
    assert found["scores"][259:262] == [pytest.approx(score) for _, score, _ in pieces[259:262]]
    assert (found["bos_token_id"], found["eos_token_id"], found["unknown_token_id"]) == (1, 2, 0)
    assert found["add_bos_token"] is True and found["add_eos_token"] is False and "add_space_prefix" not in found


def test_a_model_without_the_space_in_front_says_so(tmp_path: Path) -> None:
    found, _ = keys(folder(tmp_path, tokenizer__model=sentencepiece(llama_pieces(), dummy_prefix=False)), 420)
    assert found["add_space_prefix"] is False


def test_the_sentencepiece_package_reads_the_same(tmp_path: Path) -> None:
    package = pytest.importorskip("sentencepiece")
    raw = sentencepiece(llama_pieces())
    theirs = package.SentencePieceProcessor(model_proto=raw)
    ours = spm.parse(raw)
    assert theirs.vocab_size() == len(ours.pieces)
    for i, (text, score, kind) in enumerate(ours.pieces):
        assert (theirs.id_to_piece(i), theirs.get_score(i)) == (text, score)
        assert theirs.is_byte(i) == (kind == BYTE) and theirs.is_control(i) == (kind == CONTROL)


def test_a_sentencepiece_vocabulary_in_json_gives_the_ids_of_the_tokenizers_package(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    found, notes = keys(folder(tmp_path, tokenizer__json=llama_json()), 420)
    assert notes == []
    assert found["model"] == "llama" and found["add_space_prefix"] is True and found["add_bos_token"] is True
    theirs, ours = Tokenizer.from_str(json.dumps(llama_json())), from_gguf(plain(found))
    for text in TEXTS[:-1]:
        assert ours.encode(text) == theirs.encode(text).ids


def test_both_files_of_one_vocabulary_agree(tmp_path: Path) -> None:
    files = {"tokenizer__json": llama_json(), "tokenizer__model": sentencepiece(llama_pieces())}
    found, notes = keys(folder(tmp_path, **files), 420)
    assert notes == [] and found["add_bos_token"] is True
    assert found["scores"][300] == pytest.approx(llama_pieces()[300][1])


def test_the_unknown_token_of_a_model_became_a_control_token_by_tokenizer_json(tmp_path: Path) -> None:
    pieces = [(text, -0.5 if i < 3 else score, kind) for i, (text, score, kind) in enumerate(llama_pieces())]
    data = llama_json()
    more = {420: "<|end|>", 300: pieces[300][0]}
    data["added_tokens"] += [{**FLAGS, "id": token, "content": text} for token, text in more.items()]
    data["model"]["vocab"]["<|end|>"] = 420
    files = {"tokenizer__json": data, "tokenizer__model": sentencepiece(pieces)}
    found, _ = keys(folder(tmp_path, **files), 421)
    assert found["token_type"][:3] == [UNKNOWN, CONTROL, CONTROL] and found["scores"][:3] == [-0.5] * 3
    for token in (300, 420):  # what only tokenizer.json calls special
        assert (found["token_type"][token], found["scores"][token]) == (CONTROL, -1000.0)


def test_ids_that_differ_are_said_with_the_text(tmp_path: Path) -> None:
    data = tokenizer_json()
    data["normalizer"] = {"type": "Lowercase"}
    _, notes = keys(folder(tmp_path, tokenizer__json=data), 269)
    assert any("normalizer 'Lowercase'" in note for note in notes)
    assert any("give other ids" in note and "expected" in note for note in notes)


def test_tokens_that_swallow_space_are_named(tmp_path: Path) -> None:
    data = tokenizer_json()
    data["added_tokens"][1]["rstrip"] = True
    _, notes = keys(folder(tmp_path, tokenizer__json=data), 269)
    assert any("<|im_start|> swallow" in note for note in notes)


def frame(*steps: dict[str, Any]) -> dict[str, Any]:
    template = {
        "type": "TemplateProcessing",
        "single": list(steps),
        "pair": [],
        "special_tokens": {
            t: {"id": t, "ids": [266 + i], "tokens": [t]}
            for i, t in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
        },
    }
    return {**tokenizer_json(), "post_processor": template}


A = {"Sequence": {"id": "A", "type_id": 0}}


def token(text: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": text, "type_id": 0}}


@pytest.mark.parametrize(
    ("data", "settings", "wanted"),
    [
        (tokenizer_json(), {}, (False, False, None)),
        (tokenizer_json(), {"add_bos_token": True, "bos_token": "<|im_start|>"}, (False, False, 267)),
        ({**tokenizer_json(), "post_processor": None}, {}, (False, None, None)),
        (
            {**tokenizer_json(), "post_processor": None},
            {"add_bos_token": True, "add_eos_token": True},
            (True, True, None),
        ),
        (frame(token("<|endoftext|>"), A), {"bos_token": "<|endoftext|>"}, (True, None, 266)),
        (frame(token("<|endoftext|>"), A), {}, (True, None, 266)),
        (frame(token("<|im_start|>"), A), {"bos_token": "<|endoftext|>"}, (False, None, 266)),
        (frame(token("<|im_start|>"), A, token("<|im_end|>")), {"add_bos_token": False}, (True, True, 267)),
    ],
)
def test_tokens_around_a_text(tmp_path: Path, data: dict[str, Any], settings: dict[str, Any], wanted: Any) -> None:
    found, _ = keys(folder(tmp_path, tokenizer__json=data, tokenizer_config__json=settings), 269)
    assert tuple(found.get(key) for key in ("add_bos_token", "add_eos_token", "bos_token_id")) == wanted


def test_the_eos_that_another_token_behind_texts_takes_the_place_of_still_ends_answers(tmp_path: Path) -> None:
    data = frame(A, token("<|endoftext|>"))
    settings = {"eos_token": "<|im_start|>"}  # no name that runtimes would know as an end
    found, _ = keys(folder(tmp_path, tokenizer__json=data, tokenizer_config__json=settings), 269)
    assert (found["eos_token_id"], found["eot_token_id"]) == (266, 267)
    assert {266, 267} <= set(from_gguf(plain(found)).end_ids)


def test_roles_come_from_config_where_the_tokenizer_is_silent(tmp_path: Path) -> None:
    files = {
        "tokenizer__json": tokenizer_json(),
        "config__json": {"bos_token_id": 5, "eos_token_id": [7, 8], "pad_token_id": -1},
    }
    found, _ = keys(folder(tmp_path, **files), 269)
    assert found["bos_token_id"] == 5 and "padding_token_id" not in found


@pytest.mark.parametrize("where", ["config__json", "generation_config__json"])
def test_of_several_ends_without_a_name_another_than_the_first_became_eos(tmp_path: Path, where: str) -> None:
    """Where runtimes know the first by its name, as <|im_end|>, the next one took its place."""
    files = {"tokenizer__json": tokenizer_json(), where: {"eos_token_id": [9999, "268", 268, 5, 7, 266, 8, 9]}}
    found, notes = keys(folder(tmp_path, **files), 269)
    assert (found["eos_token_id"], found["eom_token_id"]) == (268, 5)
    assert from_gguf(plain(found)).end_ids >= {268, 5, 266}  # <|endoftext|> by its name
    assert [note for note in notes if "ends a generation" in note] == [
        f"token {i} ends a generation too, and GGUF has no key left to say so" for i in (7, 8, 9)
    ]


def test_of_several_beginnings_the_first_is_taken_and_the_others_are_said(tmp_path: Path) -> None:
    files = {"tokenizer__json": tokenizer_json(), "config__json": {"bos_token_id": [-1, 5, 6]}}
    found, notes = keys(folder(tmp_path, **files), 269)
    assert found["bos_token_id"] == 5
    assert "config.json: bos_token_id is [5, 6]; GGUF has one, made 5" in notes


def unnamed() -> dict[str, Any]:
    """A tokenizer of tokens that runtimes do not know by their names."""
    data = tokenizer_json()
    data["added_tokens"] = [{**a, "content": f"<s{i}>"} for i, a in enumerate(data["added_tokens"])]
    data["model"]["vocab"] = {t: i for t, i in data["model"]["vocab"].items() if i < 266}
    return data


LAST = 268


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config__json": {"eos_token_id": 9999}}, "config.json: eos_token_id is 9999; ids are 0 to 268"),
        ({"config__json": {"pad_token_id": -1}}, "config.json: pad_token_id is -1; ids are 0 to 268"),
        ({"config__json": {"bos_token_id": ["a", 5]}}, r"config.json: bos_token_id is \['a', 5\]; ids are 0 to 268"),
        ({"generation_config__json": {"eos_token_id": 99999}}, "generation_config.json: eos_token_id is 99999; ids"),
        ({"tokenizer_config__json": {"eos_token": "nosuch"}},
         "tokenizer_config.json: eos_token 'nosuch' is none of the 269 tokens; left out"),
        ({"special_tokens_map__json": {"unk_token": {"content": "x" * 9}}},
         "special_tokens_map.json: unk_token 'xxxxxxxxx' is none of the 269 tokens; left out"),
    ],
)  # fmt: skip
def test_ids_and_names_that_are_no_tokens_were_dropped_silently(
    tmp_path: Path, files: dict[str, Any], words: str
) -> None:
    _, notes = keys(folder(tmp_path, tokenizer__json=tokenizer_json(), **files), LAST + 1)
    assert len(notes) == 1 and re.match(words, notes[0]), notes


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config__json": {"eos_token_id": 1e9}}, "config.json: eos_token_id is 1000000000.0; expected an id or a"),
        ({"config__json": {"pad_token_id": "a"}}, "config.json: pad_token_id is a; expected an id or a list of them"),
        ({"generation_config__json": {"eos_token_id": {"a": 1}}}, "generation_config.json: eos_token_id is .*; exp"),
        ({"tokenizer_config__json": {"eos_token": 5}}, "tokenizer_config.json: eos_token is 5; expected the text of a"),
        ({"special_tokens_map__json": {"bos_token": {"a": "b"}}}, "special_tokens_map.json: bos_token is {'a': 'b'}; "),
    ],
)  # fmt: skip
def test_roles_of_a_wrong_kind_were_dropped_silently(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    with pytest.raises(TokenizerError, match=words):
        keys(folder(tmp_path, tokenizer__json=tokenizer_json(), **files), LAST + 1)


def test_that_no_token_ends_a_generation_was_not_said(tmp_path: Path) -> None:
    files = {"tokenizer__json": unnamed(), "tokenizer_config__json": {"eos_token": "nosuch"},
             "config__json": {"eos_token_id": 9999}}  # fmt: skip
    found, notes = keys(folder(tmp_path, **files), LAST + 1)
    assert "eos_token_id" not in found
    assert any(note.startswith("warning: no token ends a generation, by its role or its name") for note in notes)
    _, notes = keys(folder(tmp_path, config__json={"eos_token_id": 3}), LAST + 1)
    assert not any("warning" in note for note in notes)


@pytest.mark.parametrize(
    ("template", "words"),
    [("{% for", "the chat template of the checkpoint: the chat template cannot be read, line 1"),
     ([{"name": "tool", "template": "{{ a"}], "the chat template 'tool' of the checkpoint: .*cannot be read"),
     ("x" * 70000, "the chat template of the checkpoint: 70,000 bytes, more than the 65,536 that one may have")],
)  # fmt: skip
def test_a_template_that_no_chat_works_with_was_taken_without_a_word(tmp_path: Path, template: Any, words: str) -> None:
    files = {"tokenizer__json": tokenizer_json(), "tokenizer_config__json": {"chat_template": template}}
    found, notes = keys(folder(tmp_path, **files), LAST + 1)
    assert len(notes) == 1 and re.match(f"warning: no chat will work with {words}", notes[0]), notes
    assert any(key.startswith("chat_template") for key in found)


def test_more_ends_of_generation_take_the_free_roles(tmp_path: Path) -> None:
    data = tokenizer_json()
    data["added_tokens"] = [{**a, "content": f"<s{i}>"} for i, a in enumerate(data["added_tokens"])]
    files = {"tokenizer__json": data, "tokenizer_config__json": {"eos_token": "<s0>"},
             "generation_config__json": {"eos_token_id": [266, 267, 268, 3]}}  # fmt: skip
    found, notes = keys(folder(tmp_path, **files), 269)
    assert (found["eos_token_id"], found["eot_token_id"], found["eom_token_id"]) == (266, 267, 268)
    assert any("token 3 ends a generation too" in note for note in notes)
    assert from_gguf(plain(found)).end_ids >= {266, 267, 268}


def test_templates(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "D"}, {"name": "tool use", "template": "T"}]
    data = tokenizer_json()
    found, _ = keys(folder(tmp_path, tokenizer__json=data, tokenizer_config__json={"chat_template": named}), 269)
    assert (found["chat_template"], found["chat_templates"], found["chat_template.tool_use"]) == (
        "D",
        ["tool_use"],
        "T",
    )
    found, _ = keys(folder(tmp_path, tokenizer_config__json={"chat_template": "plain"}), 269)
    assert found["chat_template"] == "plain" and "chat_templates" not in found
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("R")
    found, _ = keys(folder(tmp_path, chat_template__jinja="J"), 269)
    assert (found["chat_template"], found["chat_template.rag"]) == ("J", "R")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no tokenizer.json and no tokenizer.model"),
        ({"vocab__json": {}}, "vocab.json alone is not read"),
        ({"tokenizer__json": {"model": {"type": "Unigram"}}}, "Unigram"),
        ({"tokenizer__json": {}}, "model none"),
        ({"tokenizer__json": {"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}}, "has id b"),
        ({"tokenizer__json": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["abc"]}}}, "merge 'abc'"),
        ({"tokenizer__json": {"model": {"type": "BPE", "vocab": {"a": 0}}}}, "no merges"),
        ({"tokenizer__json": {**tokenizer_json(), "added_tokens": [{"id": 3}]}}, "expected an id and a content"),
        ({"tokenizer__json": {**tokenizer_json(), "pre_tokenizer": {"type": "No"}}}, "tokenizers package cannot read"),
        ({"tokenizer__model": sentencepiece(llama_pieces(), kind=1)}, "unigram"),
        ({"tokenizer__json": tokenizer_json(), "tokenizer_config__json": {"chat_template": 3}}, "chat_template is 3"),
    ],
)
def test_a_tokenizer_that_cannot_be_kept_is_refused(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    with pytest.raises(TokenizerError, match=words):
        vocabulary(folder(tmp_path, **files), 269)


def test_every_prefix_of_a_tokenizer_model_is_read_or_refused() -> None:
    raw = sentencepiece(llama_pieces()[:8])
    for n in range(len(raw)):
        try:
            assert len(spm.parse(raw[:n]).pieces) <= 8
        except FormatError:
            continue
    for junk in (b"\xff" * 30, b"\x0a\xff\xff\xff\xff\x0f", b"hello world", b"\x0b"):
        with pytest.raises(FormatError):
            spm.parse(junk)


def test_a_vocabulary_of_another_kind_under_the_name_of_sentencepiece_gives_way(tmp_path: Path) -> None:
    found, _ = keys(folder(tmp_path, tokenizer__json=tokenizer_json(), tokenizer__model=b"IQ== 0\nIg== 1\n"), 269)
    assert found["model"] == "gpt2"


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "y"}}, "cannot encode .* with it"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {**SPLIT, "pattern": {"Regex": r"(x+x+)+z|(a|a)*b"}}, BYTES]}}, "cannot cut text with its pre_tokenizer"),
    ],
)  # fmt: skip
def test_a_panic_of_the_tokenizers_package_is_an_error_of_ours(
    tmp_path: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(TokenizerError, match=f"the tokenizers package {words}"):
        keys(folder(tmp_path, tokenizer__json={**tokenizer_json(), **section}), 269)


def test_how_long_texts_are_made_is_no_matter_of_the_vocabulary(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 1 << 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
           "pad_type_id": 0, "pad_token": "x"}  # fmt: skip
    _, notes = keys(folder(tmp_path, tokenizer__json={**tokenizer_json(), "truncation": cut, "padding": pad}), 269)
    assert notes == []


def test_a_role_without_a_name_is_not_the_empty_token(tmp_path: Path) -> None:
    pieces = [*llama_pieces(), ("", 0.0, 1)]
    found, _ = keys(folder(tmp_path, tokenizer__model=sentencepiece(pieces)), len(pieces))
    assert not {"bos_token_id", "mask_token_id", "cls_token_id"} & found.keys()
