"""What names of models and model cards say, as metadata: the same keys as llama.cpp's converter makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf.metadata import Metadata

from edgeq import convert
from edgeq.convert import card, naming
from models import checkpoints

NAMES = [
    ("SmolLM2-135M-Instruct", 135_000_000), ("SmolLM2-135M-Instruct", 100_000), ("Qwen2.5-0.5B-Instruct", 494_000_000),
    ("gemma-3-270m-it", 268_000_000), ("Llama-3.2-1B", 1_236_000_000), ("Meta-Llama-3.1-8B-v2", 8_000_000_000),
    ("Mistral-7B-Instruct-v0.3", 7_200_000_000), ("Phi-3-mini-4k-instruct", 3_800_000_000),
    ("TinyLlama-1.1B-Chat-v1.0", 1_100_000_000), ("Qwen3-30B-A3B", 30_000_000_000), ("Mixtral-8x7B-v0.1", 0),
    ("bloom-7b1", 7_100_000_000), ("gpt2", 0), ("gpt2-xl", 0), ("Qwen-2.5", 0), ("my model 3B", 0), ("a-b-c", 0),
    ("Llama-2-7b-chat-32k-hf", 6_700_000_000), ("stablelm-2-zephyr-1_6b", 1_600_000_000), ("3-2", 0), ("7B-foo", 0),
    ("Hermes-2-Pro-Llama-3-8B-fp16", 8_000_000_000), ("model-large-7B", 7_000_000_000), ("x-7B-7B", 7_000_000_000),
    ("gemma-3-27b-it-qat-q4_0", 27_000_000_000), ("1bit-llama", 0), ("q4_0", 0), ("v2-llama", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "weights"), NAMES)
def test_names_are_read_as_llama_cpps_converter_reads_them(name: str, weights: int) -> None:
    found = Metadata.get_model_id_components(name, weights)[2:]
    wanted = {key: text for key, text in zip(("basename", "finetune", "version", "size_label"), found) if text}
    assert naming.parts(name, weights) == wanted
    assert naming.title(name) == Metadata.id_to_title(name)


@pytest.mark.parametrize(
    "name", ["", "-", "--", "a-" + "9" * 400 + "B", "a-5\N{KELVIN SIGN}", "a-\N{ARABIC-INDIC DIGIT FIVE}b"]
)
def test_odd_names_are_names(name: str) -> None:
    assert isinstance(naming.parts(name, 1000), dict)
    assert naming.title(name)


CARD = """---
license: apache-2.0
language:
- en
- "no"
# a remark
  - 'fr'
tags: [chat, "small one", {a: b}]
pipeline_tag: text-generation
base_model: meta-llama/Llama-3.1-8B-v2
datasets:
- owner/some-data
- https://huggingface.co/other/data-v1
- https://example.com/x
- name: nested
  of: more
library_name: null
widget:
  - text: "tags:"
---
# tags: none
license: mit
"""


def test_a_model_card_as_metadata() -> None:
    found = {key: value.value for key, value in card.keys(CARD, 8_000_000_000).items()}
    assert found == {
        "license": "apache-2.0", "languages": ["en", "no", "fr"], "tags": ["chat", "small one", "text-generation"],
        "base_model.count": 1, "base_model.0.name": "Llama 3.1 8B v2", "base_model.0.version": "v2",
        "base_model.0.organization": "Meta Llama",
        "base_model.0.repo_url": "https://huggingface.co/meta-llama/Llama-3.1-8B-v2",
        "dataset.count": 3, "dataset.0.name": "Some Data", "dataset.0.organization": "Owner",
        "dataset.0.repo_url": "https://huggingface.co/owner/some-data",
        "dataset.1.name": "Data v1", "dataset.1.version": "v1", "dataset.1.organization": "Other",
        "dataset.1.repo_url": "https://huggingface.co/other/data-v1", "dataset.2.repo_url": "https://example.com/x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}), ("tags: a", {}), ("---\ntags: a", {}), ("---\n---", {}),
        ("---\nbase_model: ./models/tiny\n---", {"base_model.count": 1, "base_model.0.name": "Tiny"}),
        ("---\nbase_model: ''\n---", {}), ("---\nbase_model:\n- a\n  b\n- c\n---",
                                          {"base_model.count": 1, "base_model.0.name": "A"}),
        ("---\ntags: !!str a\nlicense: &x mit\n---", {}),
        ("---\ntags: a: b\n---", {}), ("---\ntags: 'it''s'\n---", {}), ("---\nTags: a\n---", {}),
        ("---\nlicense: [a, b]\n---", {"license": "a,b"}),
    ],
)  # fmt: skip
def test_cards_of_which_little_is_read(text: str, wanted: dict[str, Any]) -> None:
    assert {key: value.value for key, value in card.keys(text).items()} == wanted


def test_a_list_in_a_card_ends_somewhere() -> None:
    found = card.keys("---\ntags:\n" + "- a\n" * 10_000 + "base_model: [" + "b," * 10_000 + "]\n---")
    assert len(found["tags"].value) == card.MOST and found["base_model.count"].value == card.MOST


def test_a_checkpoint_has_the_keys_of_its_name_and_card(tmp_path: Path) -> None:
    folder = tmp_path / "Some-Llama-3-38K-Instruct-v2"
    checkpoints.write("llama", folder)
    (folder / "README.md").write_text(CARD)
    keys = {k.removeprefix("general."): v.value for k, v in convert.prepare(folder, "").metadata.items()}
    assert (keys["name"], keys["basename"]) == ("Some Llama 3 38K Instruct v2", "Some-Llama-3")
    assert (keys["size_label"], keys["finetune"], keys["version"]) == ("38K", "Instruct", "v2")
    assert (keys["tags"][0], keys["dataset.count"]) == ("chat", 3)
