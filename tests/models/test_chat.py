"""Chat templates: the library's ids for ordinary messages, plain text for messages that spell control tokens, exact prefills."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.errors import InputError, UnsupportedError
from ramify.models.chat import ChatTemplate, check_messages
from ramify.models.chat_sandbox import SandboxedTemplate
from ramify.models.scripted import ScriptedTokenizer
from ramify.models.tokenizer import Tokenizer

CONTROL = re.compile(
    r"<\|[^|\s<>{}']+\|>|<｜[^｜\s]+｜>|<(?:start|end)_of_turn>|\[/?(?:INST|TOOL_RESULTS|AVAILABLE_TOOLS|TOOL_CALLS)\]"
)
TEMPLATES = (
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    "Qwen-Qwen2.5-7B-Instruct",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "fireworks-ai-llama-3-firefunction-v2",
    "google-gemma-2-2b-it",
    "llama-cpp-deepseek-r1",
    "meetkai-functionary-medium-v3.1",
    "meetkai-functionary-medium-v3.2",
    "meta-llama-Llama-3.1-8B-Instruct",
    "meta-llama-Llama-3.2-3B-Instruct",
    "meta-llama-Llama-3.3-70B-Instruct",
    "microsoft-Phi-3.5-mini-instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
)
# What some of them cannot do without.
NEEDS: dict[str, dict[str, Any]] = {
    "fireworks-ai-llama-3-firefunction-v2": {"datetime": "today", "functions": "[]"},
    **{name: {"tools": []} for name in TEMPLATES if "command" in name or "functionary" in name or "Hermes" in name},
}
ORDINARY = (
    [{"role": "user", "content": "Hello there, tell me a joke."}],
    [{"role": "user", "content": " <b>2 < 3</b>\n\n🦔 {{ 7 * 7 }} "}],
    [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSo: yes."},
        {"role": "user", "content": "And\ttwo?"},
    ],
    [{"role": "system", "content": "Be  kind. "}, {"role": "user", "content": "hi"}],
)
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def codec_of(shared: Path) -> Callable[[str], Tokenizer]:
    """`codec_of(template)`: a byte-level BPE of some 600 ids that has the control tokens of a real template."""
    return cache(lambda name: make_codec((shared / "tokenizers" / "chat_templates" / f"{name}.jinja").read_text()))


def make_codec(template: str, *swallowing: str) -> Tokenizer:
    """Trained on the template itself, whose control tokens are special; `swallowing` ones take the space after them."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator([template], trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    for text in sorted({*CONTROL.findall(template), *swallowing}):
        fast.add_tokens([AddedToken(text, special=True, normalized=False, rstrip=text in swallowing)])
    fast.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<think>", "</think>")])
    fast.chat_template = template
    return Tokenizer(fast)


def library_ids(codec: Tokenizer, messages: list[dict[str, str]], **variables: Any) -> list[int]:
    rendered = codec.huggingface.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **variables)
    return [int(i) for i in rendered]


@pytest.mark.parametrize("name", TEMPLATES)
def test_ordinary_messages_get_the_ids_that_the_library_gives(name: str, codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of(name)
    template = ChatTemplate(codec)
    needs = NEEDS.get(name, {})
    for messages in ORDINARY:
        if "gemma" in name and messages[0]["role"] == "system":
            with pytest.raises(InputError, match="refuses this conversation: System role not supported"):
                template.render(messages)
            continue
        prompt = template.prompt(messages, **needs)
        assert list(prompt.token_ids) == library_ids(codec, messages, **needs)
        assert codec.decode(prompt.token_ids, keep_special=True) == prompt.text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_message_that_spells_control_tokens_is_plain_text(name: str, codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of(name)
    template = ChatTemplate(codec)
    needs = NEEDS.get(name, {})
    control = [codec.token_text(i) for i in sorted(codec.special_ids)]

    def structure(content: str) -> list[int]:
        return [i for i in template.render([{"role": "user", "content": content}], **needs) if i in codec.special_ids]

    for text in control:
        for content in (f"say {text} now", text, f"{text}{text}", f"a{text} \n"):
            prompt = template.prompt([{"role": "user", "content": content}], **needs)
            assert structure(content) == structure("say that now"), content
            assert codec.decode(prompt.token_ids, keep_special=True) == prompt.text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prefill_follows_the_generation_prompt_exactly(name: str, codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of(name)
    template = ChatTemplate(codec)
    needs = NEEDS.get(name, {})
    without = template.prompt(HI, **needs)
    for prefill in ("Sure", " Sure,", "{\n", "<|im_end|>", "🦔 \n", ""):
        prompt = template.prompt(HI, prefill=prefill, **needs)
        assert prompt.token_ids == without.token_ids + prompt.prefill_token_ids
        assert codec.join(prompt.prefill_token_ids) == prefill.encode()
        assert prompt.text == without.text + prefill
        continued = template.prompt([*HI, {"role": "assistant", "content": prefill}], continue_final=True, **needs)
        assert continued == prompt


QWEN3 = """{%- for message in messages %}
{%- set content = message.content %}{%- set thought = '' %}
{%- if message.role == 'assistant' and '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{{- '<|im_start|>assistant\\n<think>\\n' + thought + '\\n</think>\\n\\n' + content + '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""


def test_a_template_that_looks_into_contents_still_sees_them(codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    messages = [*HI, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes"}, {"role": "user", "content": "<|im_end|>"}]
    prompt = ChatTemplate(codec, QWEN3).prompt(messages, enable_thinking=False)
    assert prompt.text == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\nyes<|im_end|>\n"
        "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    marks = [codec.token_text(i) for i in prompt.token_ids if codec.token_text(i) in codec.added_tokens]
    assert "".join(marks) == (
        "<|im_start|><|im_end|><|im_start|><think></think><|im_end|><|im_start|><|im_end|><|im_start|><think></think>"
    )


def test_words_that_only_together_with_the_template_spell_a_control_token_are_plain(codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    template = ChatTemplate(codec, "{% for m in messages %}<|im_start|>{{ m.content }}>{% endfor %}")
    prompt = template.prompt([{"role": "user", "content": "a<|im_end|"}])
    assert prompt.text == "<|im_start|>a<|im_end|>"
    assert [i for i in prompt.token_ids if i in codec.special_ids] == [codec.added_tokens["<|im_start|>"]]


def test_words_between_the_templates_own_that_spell_a_control_token_are_plain(codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    template = ChatTemplate(codec, "{% for m in messages %}<|im_end|><|im{{ m.content }}|>{% endfor %}")
    prompt = template.prompt([{"role": "user", "content": "_start"}])
    assert prompt.text == "<|im_end|><|im_start|>"
    assert [i for i in prompt.token_ids if i in codec.special_ids] == [codec.added_tokens["<|im_end|>"]]


def test_a_conversation_is_rendered_once_unless_its_words_could_be_part_of_a_control_token(
    codec_of: Callable[[str], Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    render = SandboxedTemplate.render
    monkeypatch.setattr(SandboxedTemplate, "render", lambda self, values: rendered.append(render(self, values)) or rendered[-1])
    template = ChatTemplate(codec_of("Qwen-Qwen2.5-7B-Instruct"))
    for content, times in (("What is 2 + 2?", 1), ("Is 1 < 2?", 2)):
        rendered.clear()
        template.prompt([{"role": "user", "content": content}])
        assert len(rendered) == times


@pytest.mark.parametrize("name", TEMPLATES)
def test_one_rendering_tells_what_two_tell(
    name: str, codec_of: Callable[[str], Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, needs = codec_of(name), NEEDS.get(name, {})
    quick, thorough = ChatTemplate(codec), ChatTemplate(codec)
    monkeypatch.setattr(thorough, "_borders", {"default": None, "tool_use": None})
    pieces = st.sampled_from(["a", "im_end", "INST", "s", "/", " ", "\n", "<", "|", ">", "[", "]", "<|im_end|>", "</s>", "think"])

    def said(template: ChatTemplate, messages: list[dict[str, str]]) -> Any:
        try:
            return template.prompt(messages, **needs)
        except InputError as error:
            return str(error)

    @settings(deadline=None, derandomize=True, max_examples=25)
    @given(st.lists(pieces, min_size=1, max_size=5).map("".join), st.text("abc /", min_size=1, max_size=5))
    def check(first: str, second: str) -> None:
        for content in (first, second):
            messages = [{"role": "user", "content": content}, {"role": "assistant", "content": second}, *HI]
            assert said(quick, messages) == said(thorough, messages)

    check()


def test_tools_and_variables_cannot_spell_control_tokens_either(codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    template = ChatTemplate(codec)

    def ends(description: str) -> int:
        tools = [{"type": "function", "function": {"name": "f", "description": description}}]
        return template.render(HI, tools=tools).count(codec.added_tokens["<|im_end|>"])

    assert ends('"quoted" <|im_end|>') == ends("nothing") == 2


def test_a_template_that_disguises_contents_refuses_control_tokens(codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    template = ChatTemplate(codec, "{% for m in messages %}<|im_start|>{{ m.content | reverse }}{% endfor %}<|im_end|>{{ now }}")
    assert template.prompt(HI).text == "<|im_start|>ih<|im_end|>"
    shouting = ChatTemplate(
        codec, "{{ messages[0].content | lower }}<|im_end|>{% if '<|im_end|>' in messages[0].content %}!{% endif %}"
    )
    assert shouting.prompt([{"role": "user", "content": "HI"}]).text == "hi<|im_end|>"
    with pytest.raises(InputError, match="spells out one of the model's control tokens"):
        shouting.prompt([{"role": "user", "content": "HI<|im_end|>"}])


def test_a_template_without_generation_prompt_gets_the_beginning_of_the_answer() -> None:
    template = ChatTemplate(ScriptedTokenizer.of_bytes(), "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    assert template.prompt(HI).text == "user: hi\n"
    assert template.prompt(HI, prefill="Well").text == "user: hi\nassistant: Well"


def test_space_that_a_control_token_swallows_is_swallowed_beside_literal_text_too() -> None:
    source = "{% for m in messages %}<|user|>\n{{ m.content }}{% endfor %}"
    codec = make_codec(source, "<|user|>")
    template = ChatTemplate(codec)
    assert template.render(HI) == library_ids(codec, HI)
    ids = template.render([{"role": "user", "content": "a<|user|>"}])
    assert codec.decode(ids, keep_special=True) == "<|user|>a<|user|>"
    assert [i for i in ids if i in codec.special_ids] == [codec.added_tokens["<|user|>"]]


PARTS = ("<|im_end|>", "<|im_start|>", "<", "|", ">", " ", "\n", "é", "🦔", "im_end", "\U000f0000")


@settings(deadline=None, derandomize=True, max_examples=60)
@given(contents=st.lists(st.lists(st.sampled_from(PARTS), max_size=6).map("".join), min_size=1, max_size=3))
def test_whatever_is_said_the_structure_is_the_templates(contents: list[str], codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    template = ChatTemplate(codec)
    prompt = template.prompt([{"role": "user", "content": text} for text in contents])
    plain = template.prompt([{"role": "user", "content": "x"} for _ in contents])
    assert [i for i in prompt.token_ids if i in codec.special_ids] == [i for i in plain.token_ids if i in codec.special_ids]
    assert codec.decode(prompt.token_ids, keep_special=True) == prompt.text


def test_a_message_cannot_use_up_the_characters_that_tell_it_apart(codec_of: Callable[[str], Tokenizer]) -> None:
    template = ChatTemplate(codec_of("Qwen-Qwen2.5-7B-Instruct"))
    private = "".join(map(chr, range(0xF0000, 0xFFFFE)))
    prompt = template.prompt([{"role": "user", "content": private + "<|im_end|>"}])
    assert prompt.token_ids.count(template._codec.added_tokens["<|im_end|>"]) == 2
    everything = private + "".join(map(chr, [*range(0x100000, 0x10FFFE), *range(0x40000, 0xE0000)]))
    with pytest.raises(InputError, match="use every private character of Unicode"):
        template.prompt([{"role": "user", "content": everything + "<|im_end|>"}])


def test_named_templates_are_chosen_by_need() -> None:
    codec = ScriptedTokenizer.of_bytes()
    template = ChatTemplate(codec, {"default": "plain", "tool_use": "tools"})
    assert (template.prompt(HI).text, template.prompt(HI, tools=[]).text) == ("plain", "tools")
    with pytest.raises(InputError, match="templates named rag, but no 'default'"):
        ChatTemplate(codec, {"rag": "x"}).prompt(HI)


def test_the_clock_and_the_generation_tag_are_there() -> None:
    template = ChatTemplate(
        ScriptedTokenizer.of_bytes(),
        "{{ strftime_now('%Y')[:2] }}{% generation %}{{ messages[0].content }}{% endgeneration %}{{ {'a': '<é>'} | tojson }}",
    )
    assert template.prompt(HI).text == '20hi{"a": "<é>"}'


def test_what_ordinary_templates_do_with_texts_still_works() -> None:
    source = (
        "{{ [1, 2] | join(', ') }} {{ [3, 4] | map('string') | join(d='-') }} {{ 'x' | center(3) }} {{ '{:>3}'.format(7) }} "
        "{{ '%03d' % 5 }} {{ '%s!' | format('a') }} {{ 'a-b'.replace('-', '+') }} {{ '-' * 3 }} {{ 'ab' | replace('b', 'c') }}"
        "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    said = ChatTemplate(ScriptedTokenizer.of_bytes(), source).prompt(HI).text
    assert said == "1, 2 3-4  x    7 005 a! a+b --- ac01"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{{ messages.append(1) }}", "SecurityError|unsafe|refuses this conversation"),
        ("{{ ''.__class__.__mro__ }}", "refuses this conversation|needs a value"),
        ("{{ messages[0].__init__.__globals__ }}", "refuses this conversation|needs a value"),
        (
            "{% for i in range(100000) %}{% for j in range(1000) %}aaaaaaaaaa{% endfor %}{% endfor %}",
            "more than 4,0.* characters",
        ),
        ("{{ 'a' * 10000000000 }}", "would make more than 1,000,000 items"),
        ("{{ 9 ** 9 ** 9 }}", "is not available"),
        ("{{ 'a'.center(10000000000) }}", "center was given a number above 1,000,000"),
        ("{{ 'a' | center(10000000000) }}", "center was given a number above 1,000,000"),
        ("{{ '%10000000000d' % 1 }}", "a format asks for a width above 1,000,000"),
        ("{{ '%*d' % (10000000000, 1) }}", "format was given a number above 1,000,000"),
        ("{{ '%10000000000d' | format(1) }}", "a format asks for a width above 1,000,000"),
        ("{{ '{:>10000000000}'.format(1) }}", "a format asks for a width above 1,000,000"),
        ("{{ ('a' * 9999).replace('a', 'b' * 9999) }}", "replace would make more than 50,000,000 characters"),
        ("{{ ('a' * 9999) | replace('a', 'b' * 9999) }}", "replace would make more than 50,000,000 characters"),
        ("{{ ('a' * 9999).join(range(9999)) }}", "join would make more than 50,000,000 characters"),
        ("{{ range(9999) | join('a' * 9999) }}", "join would make more than 50,000,000 characters"),
        ("{{ missing.field }}", "needs a value that was not given: 'missing' is undefined"),
        ("{{ raise_exception('no poems') }}", "refuses this conversation: no poems"),
        ("{{ messages[0].content + 1 }}", "cannot render this conversation: TypeError"),
    ],
)
def test_a_hostile_or_broken_template_is_stopped(source: str, error: str) -> None:
    with pytest.raises(InputError, match=error):
        ChatTemplate(ScriptedTokenizer.of_bytes(), source).prompt(HI)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "messages is empty"),
        ("hi", "must be a list of objects with role and content; got str"),
        ({"role": "user", "content": "hi"}, "must be a list .* got dict"),
        (["hi"], r"messages\[0\] is str; it must be an object"),
        ([{"role": "user", "content": "hi", "cotnent": 1}], r"messages\[0\] has unknown keys cotnent; allowed are role, content"),
        ([*HI, {"content": "hi"}], r"messages\[1\]\.role is None; it must be a text such as 'system'"),
        ([{"role": 3, "content": "hi"}], r"messages\[0\]\.role is 3"),
        ([{"role": "user"}], r"messages\[0\]\.content is NoneType; it must be a text or a list of text parts"),
        ([{"role": "user", "content": 7}], r"messages\[0\]\.content is int"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], r"content\[0\] is .* only parts like"),
        ([{"role": "user", "content": "a\ud800"}], r"messages\[0\]\.content has a lone surrogate at character 1"),
        ([{"role": "tool", "content": "x", "tool_call_id": 4}], r"messages\[0\]\.tool_call_id is int; it must be a text"),
        ([{"role": "assistant", "content": "x", "tool_calls": "f"}], r"messages\[0\]\.tool_calls is str; it must be a list"),
    ],
)
def test_messages_that_cannot_be_are_refused_by_place(messages: Any, error: str) -> None:
    with pytest.raises(InputError, match=error):
        check_messages(messages)


def test_text_parts_are_joined_and_roles_are_data() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert check_messages([{"role": "narrator", "content": parts}]) == [{"role": "narrator", "content": "ab"}]


def test_what_cannot_be_rendered_is_refused(codec_of: Callable[[str], Tokenizer]) -> None:
    codec = codec_of("Qwen-Qwen2.5-7B-Instruct")
    template = ChatTemplate(codec)
    with pytest.raises(InputError, match=r"role 'user<\|im_end\|>' contains the control token"):
        template.render([{"role": "user<|im_end|>", "content": "hi"}])
    with pytest.raises(InputError, match="does not read enable_thinking; it reads nothing but the messages"):
        template.render(HI, enable_thinking=False)
    with pytest.raises(InputError, match="add_generation_prompt cannot be False"):
        template.render(HI, prefill="a", add_generation_prompt=False)
    with pytest.raises(InputError, match="continues a last message of role 'assistant'"):
        template.render(HI, continue_final=True)
    for tools in ("f", ["f"]):
        with pytest.raises(InputError, match="tools must be a list of objects"):
            template.render(HI, tools=tools)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'default' is not valid jinja"):
        ChatTemplate(codec, "{% for %}")
    with pytest.raises(UnsupportedError, match="no chat template, so messages cannot be rendered; pass the prompt as one text"):
        ChatTemplate(ScriptedTokenizer())
