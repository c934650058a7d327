"""Chat templates: where they come from, that they render as in transformers, and that they can do no harm."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.chat import BoundError, render, render_as_transformers
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "dim the lamp"}],
    [{"role": "system", "content": "Be brief. <b>&</b>"}, {"role": "user", "content": "明日の朝7時に\n起こして  "}],
    [
        {"role": "user", "content": " a "},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": 'c "quoted"'},
    ],
]
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
        "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama 2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
        "'<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = '' %}{% endif %}{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}"
        "{% if message['role'] == "
        "'user' %}{{ bos_token + '[INST] ' + (system_message if loop.first else '') + message['content'].strip() + "
        "' [/INST]' }}{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "blocks and comments": (
        "{# a comment #}\n{%- for m in messages %}\n    {% if m.role == 'user' %}\n  U:{{ m.content | trim }}\n"
        "    {% elif m.role == 'system' %}\n  S:{{ m.content | tojson }}\n    {% else %}\n  A:{{ m.content }}\n"
        "    {% endif %}\n{% endfor %}\n{{ add_generation_prompt }}{{ tools }}{{ documents }}"
    ),
    "json and loops": (
        "{{ messages | tojson }}|{{ messages | tojson(indent=2) }}|{{ {'b': '<é>', 'a': 1} | tojson(sort_keys=true) }}"
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m['role'] | upper }}{% endfor %}"
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{% endfor %}"
        "{{ ns.n }}"
    ),
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}[{{ m.content }}]{% endif %}{% endfor %}"
    ),
    "undefined": "{{ pad_token }}{% if pad_token is defined %}p{% endif %}{{ messages[9] }}{{ '-' * 10 }}{{ 2 ** 5 }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompt", [True, False])
def test_templates_render_as_transformers_renders_them(name: str, prompt: bool) -> None:
    for chat in CHATS:
        rendered, _ = render_jinja_template(
            conversations=[chat], chat_template=TEMPLATES[name], add_generation_prompt=prompt, **TOKENS
        )
        assert render(TEMPLATES[name], chat, TOKENS, prompt) == rendered[0]


LLAMA_3_2_DATE = (
    "{%- if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{%- else %}{{ '26 Jul 2024' }}{%- endif %}"
)


def test_a_prompt_never_depends_on_the_day() -> None:
    assert render(LLAMA_3_2_DATE, CHATS[0], {}, True) == "26 Jul 2024"
    unasked = "{%- set today = strftime_now('%d-%B-%Y') -%}{{ today }}"  # as SmolLM3's
    assert render(unasked, CHATS[0], {}, True) == "26-July-2024"
    assert len(render("{{ strftime_now('%999999999Y') }}", CHATS[0], {}, True)) < 1000


def test_a_template_that_writes_the_beginning_gets_no_second_one(folder: Path) -> None:
    """Llama's class puts <s> before every text, its template before every chat; transformers' ids are the judge."""
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<eos>", "eos_token": "<end>", "unk_token": "<unk>"}
    template = "{{ bos_token }} hello {{ messages[0].content }}{{ eos_token }}"
    settings(folder, **config, chat_template=template)
    ours, reference = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "world"}]
    assert ours.encode_chat(chat) == reference.apply_chat_template(chat) == [1, 3, 4, 2]
    assert ours.encode("hello world") == reference("hello world")["input_ids"] == [1, 3, 4]


def test_templates_in_a_folder_of_their_own_do_not_disturb(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    (folder / "chat_template.jinja").write_text("default")
    assert open_checkpoint(folder).chat_template == "default"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('no tools here') }}", "no tools here"),
        ("{% if %}", "Expected an expression"),
        ("{% generation %}x", "Unexpected end"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[0].pop('role') }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ 'x' * 10 ** 10 }}", "may not repeat"),
        ("{{ ('x' * 1000000) * 1000000 }}", "may not repeat"),
        ("{{ 9 ** 9 ** 9 ** 99 }}", "numbers that large"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurs"),
        ("{{ 1 // 0 }}", "zero"),
        ("{{ messages | tojson(indent=messages) }}", "chat template fails"),
        ("{{ none + 1 }}", "NoneType"),
        ("{{ messages[0].content.format() | nosuchfilter }}", "nosuchfilter"),
        ("(" * 3 + "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "chat template fails"),
    ],
)
def test_a_hostile_or_broken_template_is_an_input_error(template: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        render(template, CHATS[0], TOKENS, True)
    assert says in str(error.value)
    assert error.value.diagnostics[0].code == "checkpoint.chat_template"


def settings(folder: Path, **values: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_template_comes_from_its_file_before_the_settings(folder: Path) -> None:
    settings(folder, chat_template="in settings")
    assert open_checkpoint(folder).chat_template == "in settings"
    (folder / "chat_template.json").write_text('{"chat_template": "in json"}')
    assert open_checkpoint(folder).chat_template == "in settings"
    (folder / "chat_template.jinja").write_text("in file")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.chat_template == "in file"
    assert "chat_template.jinja" in checkpoint.tokenizer_files


def test_the_default_of_named_templates_is_taken(folder: Path) -> None:
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    settings(folder, chat_template=named)
    assert open_checkpoint(folder).chat_template == "D"
    settings(folder, chat_template=named[:1])
    with pytest.raises(InputError, match="tool_use"):
        open_checkpoint(folder)


def test_the_older_json_file_is_read_where_nothing_else_is(folder: Path) -> None:
    (folder / "chat_template.json").write_text('{"chat_template": "in json"}')
    assert open_checkpoint(folder).chat_template == "in json"


@pytest.mark.parametrize("value", [3, ["x"], [{"name": "default", "template": 3}], {"default": None, "x": 1}, True])
def test_a_template_of_another_type_is_an_input_error_or_absent(folder: Path, value: object) -> None:
    settings(folder, chat_template=value)
    if value == {"default": None, "x": 1}:
        assert open_checkpoint(folder).chat_template is None
    else:
        with pytest.raises(InputError):
            open_checkpoint(folder)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ '%9999999999d' % 1 }}", "512 MiB of memory"),
        ("{{ 'a' | center(9999999999) }}", "512 MiB of memory"),
        ("{{ 'a'.ljust(9999999999) }}", "512 MiB of memory"),
        (
            "{% set n = namespace(t='aaaa') %}{% for i in range(40) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
            "512 MiB of memory",
        ),
        ("{{ 'ab' | center(20000000) }}", "more than 16,777,216 characters"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "longer than 2 seconds"),
        pytest.param("{{ lipsum(99999999) }}", "longer than 2 seconds", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("by_transformers", [False, True], ids=["own", "transformers"])
def test_a_template_is_bounded_in_time_memory_and_length(template: str, reason: str, by_transformers: bool) -> None:
    """In a process of its own, and the next template renders as if nothing had been."""
    started = time.monotonic()
    with pytest.raises(BoundError, match=reason) as caught:
        render_as_transformers(template, [], {}) if by_transformers else render(template, [], {}, False)
    assert time.monotonic() - started < 20  # 2 seconds of processor time, on a machine that others use too
    assert caught.value.diagnostics[0].where == "chat template"
    assert render("{{ messages[0].content }}", [{"role": "user", "content": "é\ud800"}], {}, False) == "é\ud800"


@pytest.mark.slow
def test_a_template_is_not_limited_by_those_before_it() -> None:
    """Processor time is counted for each template, not for the process."""
    half = "{% for a in range(1000) %}{% for b in range(4000) %}{% endfor %}{% endfor %}done"
    assert {render(half, [], {}, False) for _ in range(12)} == {"done"}
