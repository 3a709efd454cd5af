"""Conversations that the goldens are made of, and the values that go with them."""

from __future__ import annotations

from typing import Any

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city, é & <b>",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
                "required": ["city"],
            },
        },
    }
]
_CALL = {"type": "function", "id": "c1", "function": {"name": "get_weather", "arguments": {"city": "Köln"}}}


def said(*turns: str) -> list[dict[str, Any]]:
    """Messages from texts of the form "role: content"."""
    return [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]


CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "question": (said("user:  Why is the sky blue?\n"), {}),
    "system": (said("system: Be brief.", "user: Hallo, Welt"), {}),
    "history": (
        said("system:  Be “kind”.\n", "user: Hi\n", "assistant: Hello! ", "user: a <b>bold</b> ask"),
        {},
    ),
    "finished": (
        said("user: Hi", "assistant: <think>\nhm\n</think>\n\nHello"),
        {"add_generation_prompt": False},
    ),
    "tools": (
        [
            *said("user: Weather?"),
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            *said('tool: {"t": 20.5}', "assistant: 20 degrees", "user: Thanks"),
        ],
        {"tools": TOOLS},
    ),
    "empty": (said("user: "), {"documents": [{"title": "One", "text": "t"}, {"title": "Two", "text": ""}]}),
    "many": (
        said("user: 1", "assistant: skip", "user: 3", "assistant: 4", "user: 5", "assistant: 6", "user: 7"),
        {},
    ),
}
