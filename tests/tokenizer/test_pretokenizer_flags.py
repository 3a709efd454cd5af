"""Flags that llama.cpp ties to the names of pre-tokenizers, as they stand in its src/llama-vocab.cpp (MIT)."""

from __future__ import annotations

import pytest

from edgeq.tokenizer.pretokenizers import PRETOKENIZERS

FLAGS = {
    "clean_spaces": """afmoe bailingmoe bailingmoe2 chameleon cohere2moe command-r deepseek-coder deepseek-llm
        deepseek-r1-qwen deepseek-v3 f2llmv2 gpt-4o granite-docling granite-embed-multi-97m grok-2 hunyuan hunyuan-dense
        hy_v4 joyai-llm kanana2 kimi-k2 kormo laguna llada-moe llama4 minimax-m2 poro-chat qwen2 qwen35 sarvam-moe
        seed-coder smollm solar-open spark2_5 superbpe talkie tekken tiny_aya trillion ufakzeka viking youtu""",
    "whole_words": """falcon-h1 falcon3 glm4 glm5 granite-embed-multi-97m jina-v5-nano lfm2 llama-bpe llama-v3 llama3
        midm-2.0 minicpm5 pixtral tekken youtu""",
    "add_bos": """chameleon falcon-h1 falcon3 gemma4 granite-embed-multi-311m jina-v5-nano lfm2 llama-bpe llama-v3
        llama3 midm-2.0 pixtral tekken""",
    "escape_spaces": "gemma4 granite-embed-multi-311m mmbert sarvam-moe",
    "bos": "chatglm-bpe glm4 glm5",
    "needs_merges": "kimi-k2",
}
"""Flag -> the names for which it is not what it is by default."""


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_those_of_llama_cpp(flag: str) -> None:
    default = getattr(PRETOKENIZERS["gpt-2"], flag)
    assert {name for name, row in PRETOKENIZERS.items() if getattr(row, flag) != default} == set(FLAGS[flag].split())
