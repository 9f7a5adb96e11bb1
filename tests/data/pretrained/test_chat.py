"""Chat templates: rendered as transformers does, in a sandbox, with one sentence for what fails."""

import pytest

pytest.importorskip("jinja2", reason="chat templates need the package jinja2")

from data.pretrained.chat import ChatTemplate

CHAT_ML = (  # as SmolLM2 has it
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = """{{- bos_token }}
{%- if strftime_now is defined and false %}
    {%- set date = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set date = "26 Jul 2024" %}
{%- endif %}
{#- A comment. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""  # noqa: E501
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
    "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + "
    "message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
SPACED = """
{% set ns = namespace(count=0) %}
  {% for message in messages %}
    {% set ns.count = ns.count + 1 %}
    {% if message.role == "system" %}{% continue %}{% endif %}
    {% generation %}
  {{ ns.count }}: {{ message | tojson }} {{ message.name or "nobody" }}
    {% endgeneration %}
  {% endfor %}
"""
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ASK = [{"role": "user", "content": " 1 < 2 & “why”? \n"}]
TALK = [
    *ASK,
    {"role": "assistant", "content": "Because.", "name": "é"},
    {"role": "user", "content": ""},
]
SYSTEM = [{"role": "system", "content": " Be brief. "}, *TALK]


@pytest.mark.parametrize("messages", [ASK, TALK, SYSTEM])
@pytest.mark.parametrize("template", [CHAT_ML, LLAMA_3, GEMMA, SPACED])
@pytest.mark.parametrize("prompt", [True, False])
def test_text_is_that_of_transformers(template, messages, prompt):
    transformers = pytest.importorskip("transformers", reason="the reference")
    from transformers.utils.chat_template_utils import render_jinja_template

    assert transformers.__version__
    if template is GEMMA and messages is SYSTEM:
        with pytest.raises(ValueError, match="applied: System role not supported.$"):
            ChatTemplate(GEMMA, TOKENS).render(SYSTEM)
        return
    ours = ChatTemplate(template, TOKENS).render(messages, add_generation_prompt=prompt)
    theirs, _ = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=prompt, **TOKENS
    )
    assert [ours] == theirs


def test_a_chat_by_hand():
    text = ChatTemplate(CHAT_ML).render(TALK[:2], add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
        "<|im_start|>user\n 1 < 2 & “why”? \n<|im_end|>\n"
        "<|im_start|>assistant\nBecause.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_there_is_no_clock():
    asks = "{{ strftime_now('%Y') if strftime_now is defined else 'no clock' }}"
    assert ChatTemplate(asks).render(ASK) == "no clock"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "'__class__' of 'str' object is unsafe"),
        ("{{ cycler.__init__.__globals__.os.getcwd() }}", "'__init__' of 'type' .* is unsafe"),
        ("{{ raise_exception.__globals__ }}{{ raise_exception.__code__.x }}", "unsafe"),
        ("{% set x = messages.append(1) %}", "'append' of 'list' object is unsafe"),
        ("{% set x = messages[0].update(a=1) %}", "'update' of 'dict' object is unsafe"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{% include '/etc/passwd' %}", "no loader for this environment"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% if %}", "Expected an expression"),
        ("{{ unknown.x }}", "'unknown' is undefined"),
        ("{{ raise_exception('two\nlines.') }}", "two lines"),
    ],
)
def test_what_a_template_must_not_do_is_told_in_a_sentence(template, message):
    with pytest.raises(ValueError, match=message) as error:
        print(ChatTemplate(template).render(ASK))
    told = str(error.value)
    assert told.startswith("the chat template can't be applied: ") and told.endswith(".")
    assert "\n" not in told and not told.endswith("..")


@pytest.mark.parametrize(
    "message", ["hi", {"role": "user"}, {"role": "user", "content": ["a"]}, {"content": "x"}, None]
)
def test_messages_are_of_texts(message):
    with pytest.raises(ValueError, match="^message 2 must be a mapping of texts with 'role' and"):
        ChatTemplate(CHAT_ML).render([*ASK, message])
