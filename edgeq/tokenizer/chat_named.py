"""Chat templates by name, for files that carry none and for callers who want another.

Written here from the published formats: the marks around each turn, where a system prompt goes, what opens
an answer. Where a format has no place for a system prompt, it goes in front of the first message of the
user.
"""

from __future__ import annotations

_SYSTEM_IN_FRONT = """\
{%- set ns = namespace(system='') %}
{%- for m in messages if m.role == 'system' %}{% set ns.system = ns.system + m.content + '\n\n' %}{% endfor %}
"""

_PLAIN_TURNS = """\
{%- for m in messages if m.role == 'system' %}{{ m.content + '\n\n' }}{% endfor %}
{%- for m in messages if m.role != 'system' %}"""

_LLAMA2 = """\
{%- set ns = namespace(system='', open=false) %}
{%- for m in messages %}
  {%- if m.role == 'system' %}
    {%- set ns.system = '<<SYS>>\n' + m.content + '\n<</SYS>>\n\n' %}
  {%- elif m.role == 'user' %}
    {{- bos_token + '[INST] ' + ns.system + m.content + ' [/INST]' }}
    {%- set ns.system = '' %}
  {%- else %}
    {{- ' ' + m.content + ' ' + eos_token }}
  {%- endif %}
{%- endfor %}
"""

_LLAMA3 = """\
{{- bos_token }}
{%- for m in messages %}
  {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""

_MISTRAL = (
    _SYSTEM_IN_FRONT
    + """
{{- bos_token }}
{%- for m in messages %}
  {%- if m.role == 'user' %}
    {{- '[INST] ' + ns.system + m.content + '[/INST]' }}
    {%- set ns.system = '' %}
  {%- elif m.role == 'assistant' %}
    {{- ' ' + m.content | trim + eos_token }}
  {%- endif %}
{%- endfor %}
"""
)

_GEMMA = (
    _SYSTEM_IN_FRONT
    + """
{{- bos_token }}
{%- for m in messages if m.role != 'system' %}
  {%- set role = 'model' if m.role == 'assistant' else m.role %}
  {{- '<start_of_turn>' + role + '\n' + (ns.system + m.content) | trim + '<end_of_turn>\n' }}
  {%- set ns.system = '' %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}
"""
)

_CHATML = """\
{%- for m in messages %}
  {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
"""

_ZEPHYR = """\
{%- for m in messages %}
  {{- '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}
"""

_PHI3 = """\
{%- for m in messages %}
  {{- '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}
"""

_ALPACA = (
    _PLAIN_TURNS
    + """
  {%- if m.role == 'assistant' %}{{ '### Response:\n' + m.content + eos_token + '\n\n' }}
  {%- else %}{{ '### Instruction:\n' + m.content + '\n\n' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}
"""
)

_VICUNA = (
    _PLAIN_TURNS
    + """
  {%- if m.role == 'assistant' %}{{ 'ASSISTANT: ' + m.content + eos_token + '\n' }}
  {%- else %}{{ 'USER: ' + m.content + '\n' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}
"""
)

NAMED: dict[str, str] = {
    "chatml": _CHATML,
    "llama2": _LLAMA2,
    "llama3": _LLAMA3,
    "mistral": _MISTRAL,
    "gemma": _GEMMA,
    "zephyr": _ZEPHYR,
    "phi3": _PHI3,
    "alpaca": _ALPACA,
    "vicuna": _VICUNA,
}
"""Name -> source."""
