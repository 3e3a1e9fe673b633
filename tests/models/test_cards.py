"""Capability cards: what a probe finds at endpoints of all manners, how it is kept, and what is refused because of it."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from endpoint_made_here import Handler, Server, says, serving, silent, slams, streams
from endpoint_with_a_model import LLAMA_CPP, Manners, behaves, tells_like_llama_cpp
from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError, RemoteError, UnsupportedError
from ramify.models.cards import ASKED, Card, Cards, Finding, abilities
from ramify.models.endpoints import Endpoint
from ramify.models.probing import MESSAGE
from ramify.models.remote import Remote, Retries
from ramify.settings import Settings

KEY = "sk-very-secret-0123456789"
HELLO = [{"role": "user", "content": "Hello"}]
FEW = GenerationConfig(max_new_tokens=4)
ALL = dict.fromkeys(ASKED, "honoured")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINE_KEY", KEY)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


async def at_once(_: float) -> None: ...


def remote(server: Server, *, retries: Retries | None = None, timeout_s: float = 5.0, **endpoint: Any) -> Remote:
    described = Endpoint(**{"base_url": server.url, "api_key_env": "MINE_KEY", **endpoint})
    return Remote("small", described, retries=retries or Retries(tries=2, sleep=at_once), timeout_s=timeout_s)


def probed(server: Server, manners: Manners, **endpoint: Any) -> Card:
    server.always = behaves(manners)
    with remote(server, **endpoint) as model:
        return model.probe()


def verdicts(card: Card) -> dict[str, str]:
    return {name: finding.verdict for name, finding in card.findings.items()}


# --- what is found


def test_an_endpoint_that_honours_everything(server: Server) -> None:
    server.pages["/v1/models"] = {"data": [{"id": "other"}, {"id": "small", "max_model_len": 4096, "owned_by": "vllm"}]}
    card = probed(server, Manners())
    assert verdicts(card) == ALL
    assert (card.prefill_style, card.top_logprobs, card.logprobs_are) == ("continue_final_message", 15, "raw")
    assert (card.context_window, card.server, card.model, card.dialect) == (4096, "vllm", "small", "compatible")
    assert card.requests == len(server.asked) + len(server.got)
    assert card.tokens > 100
    assert max(body["max_tokens"] for body in server.bodies) <= 24


@pytest.mark.parametrize(
    ("manners", "style", "found"),
    [
        (Manners(prefill="ignored"), "continue_final_message", {"prefill": "ignored"}),
        (Manners(prefill="ignored", counts=False), "continue_final_message", {"prefill": "ignored", "token_ids": "unclear"}),
        (Manners(prefill="doubled"), "continue_final_message", {"prefill": "doubled"}),
        (Manners(prefill="refused"), "continue_final_message", {"prefill": "refused"}),
        (Manners(flag="refused"), "assistant_turn", {}),
        (Manners(flag="refused", prefill="doubled"), "assistant_turn", {"prefill": "doubled"}),
        (Manners(top=None), "continue_final_message", {"logprobs": "ignored", "score": "ignored"}),
        (Manners(top_k="ignored"), "continue_final_message", {"top_k": "ignored"}),
        (Manners(top_k="refused"), "continue_final_message", {"top_k": "refused"}),
        (Manners(seed="ignored"), "continue_final_message", {"seed": "ignored"}),
        (Manners(logit_bias="ignored"), "continue_final_message", {"logit_bias": "ignored"}),
        (Manners(n="ignored"), "continue_final_message", {"n": "ignored"}),
        (Manners(n="refused"), "continue_final_message", {"n": "refused"}),
        (Manners(echo="ignored"), "continue_final_message", {"echo": "ignored", "score": "ignored"}),
        (Manners(token_ids="refused"), "continue_final_message", {"token_ids": "refused"}),
        (Manners(token_ids="ignored"), "continue_final_message", {"token_ids": "ignored"}),
        (Manners(stream="ignored"), "continue_final_message", {"stream": "ignored"}),
        (
            Manners(raw="refused"),
            "continue_final_message",
            {"raw": "refused", "echo": "refused", "score": "refused", "token_ids": "refused"},
        ),
    ],
)
def test_what_an_endpoint_lacks_is_found(server: Server, manners: Manners, style: str, found: dict[str, str]) -> None:
    card = probed(server, manners)
    assert verdicts(card) == {**ALL, **found}
    assert card.prefill_style == style


def test_the_words_of_a_card_are_about_what_was_seen(server: Server) -> None:
    card = probed(server, Manners(prefill="refused", top_k="ignored", top=5))
    assert card.findings["prefill"].because == (
        "it answered 400: This model does not support assistant message prefill. The conversation must end with a user message."
    )
    assert card.findings["top_k"].because.startswith("it takes top_k 1 and samples as without it, '")
    assert card.findings["logprobs"].because == "it gave 5 alternatives a token of 5 asked for"


def test_an_endpoint_of_raw_texts_alone_is_asked_raw(server: Server) -> None:
    card = probed(server, Manners(chat="refused", processed=True))
    assert verdicts(card) == {**{name: verdict for name, verdict in ALL.items() if name != "prefill"}, "chat": "refused"}
    assert (card.prefill_style, card.logprobs_are) == (None, "processed")


def test_llama_cpps_server(server: Server) -> None:
    tells_like_llama_cpp(server)
    card = probed(server, LLAMA_CPP, dialect="llama.cpp")
    assert verdicts(card) == {**ALL, "prefill": "doubled", "echo": "ignored", "score": "ignored"}
    assert (card.prefill_style, card.server, card.context_window) == ("assistant_turn", "llamacpp", 1024)
    assert (card.top_logprobs, card.logprobs_are) == (15, "raw")
    assert [request["path"] for request in server.got] == ["/v1/models", "/props"]
    unknown = probed(server, replace(LLAMA_CPP, prefill="honoured", echo="refused", n="refused"))
    assert verdicts(unknown) == {**ALL, "echo": "refused", "score": "refused", "n": "refused"}
    assert unknown.context_window == 1024


def test_anthropics_protocol(server: Server) -> None:
    server.pages["/v1/models/small"] = {"type": "model", "id": "small", "display_name": "Small", "max_input_tokens": 200000}
    lacking = dict.fromkeys(("raw", "token_ids", "seed", "logit_bias", "n", "logprobs", "echo", "score"), "refused")
    card = probed(server, Manners(spoken=True), dialect="anthropic")
    assert verdicts(card) == {**ALL, **lacking}
    assert (card.prefill_style, card.context_window) == ("assistant_turn", 200000)
    assert {request["path"] for request in server.asked} == {"/v1/messages"}
    later = probed(server, Manners(spoken=True, prefill="refused", temperature="refused", top_k="refused"), dialect="anthropic")
    refused = dict.fromkeys(("prefill", "temperature", "top_k", "repeatable"), "refused")
    assert verdicts(later) == {**ALL, **lacking, **refused}
    assert later.findings["temperature"].because == "it answered 400: `temperature` may not be set for this model"


def test_prices_are_told_and_counted(server: Server) -> None:
    pricing = {"prompt": "0.000003", "completion": "0.000015", "request": "0"}
    server.pages["/v1/models"] = {"data": [{"id": "small", "context_length": 8192, "pricing": pricing}]}
    card = probed(server, Manners())
    assert (card.context_window, card.prompt_price, card.completion_price) == (8192, 0.000003, 0.000015)
    assert card.cost(1000, 100) == pytest.approx(0.0045)
    assert replace(card, prompt_price=None).cost(1000, 100) is None


# --- what goes wrong on the way


def test_limits_errors_silence_and_half_streams_leave_the_rest_of_a_card_right(server: Server) -> None:
    manners, seen = behaves(Manners()), {"first": 0}

    def troubled(handler: Handler) -> None:
        body = handler.body
        if not seen["first"]:
            seen["first"] = 1
            return says({"error": {"message": "slow down"}}, 429, retry_after="1")(handler)
        if "top_k" in body:
            return says({"error": {"message": "out of memory"}}, 500)(handler)
        if "seed" in body:
            return says({"error": {"message": "slow down"}}, 429, retry_after="3600")(handler)
        if "logit_bias" in body:
            return silent(handler)
        if body.get("n"):
            return slams(handler)
        if body.get("stream"):
            return streams([{"choices": [{"index": 0, "delta": {"content": " the"}}]}], done=False, then="break")(handler)
        return manners(handler)

    server.always = troubled
    with remote(server, timeout_s=0.4) as model:
        card = model.probe()
        assert model.card == card
    unclear = ("top_k", "seed", "logit_bias", "n", "stream")
    assert verdicts(card) == {**ALL, **dict.fromkeys(unclear, "unclear")}
    because = [card.findings[name].because for name in unclear]
    assert because[0] == "it answered 500: out of memory (tried 2 times)"
    assert because[1] == "it answered 429: slow down; it asks to wait 3600 s"
    assert because[2] == "it said nothing for 0.4 s (tried 2 times)"
    assert because[3].startswith("it broke off the connection: ")
    assert because[4].startswith("it broke off its stream")


@pytest.mark.parametrize("reply", [says({"error": {"message": "who?"}}, 401), says({}, 500), silent, slams])
def test_where_nothing_is_answered_no_card_is_kept_and_the_old_one_stays(server: Server, reply: Any) -> None:
    before = probed(server, Manners(n="ignored"))
    server.always = reply
    with remote(server, timeout_s=0.2, retries=Retries(tries=1)) as model:
        with pytest.raises(RemoteError):
            model.probe()
        assert model.card == before


def test_a_key_is_in_no_card_and_no_log(server: Server, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def tells_it(handler: Handler) -> None:
        key = handler.headers["Authorization"].removeprefix("Bearer ")
        if "top_k" in handler.body:
            return says({"error": {"message": f"your key {key} may not"}}, 400)(handler)
        return says({"id": key, "model": key, "choices": [{"message": {"content": f" {key}"}, "finish_reason": "stop"}]})(handler)

    server.always = tells_it
    server.pages["/v1/models"] = {"data": [{"id": "small", "owned_by": KEY}]}
    with caplog.at_level(logging.DEBUG), remote(server) as model:
        model.probe()
        (made,) = model.complete(HELLO, FEW)
    assert (made.text, made.id, made.model) == (" ***", "***", "***")
    assert server.got[0]["headers"]["authorization"] == f"Bearer {KEY}"
    kept = "".join(file.read_text() for file in (tmp_path / "home").iterdir())
    assert '"it answered 400: your key *** may not"' in kept
    assert KEY not in kept + caplog.text


# --- how it is kept


def a_card(**fields: Any) -> Card:
    described = {
        "model": "small",
        "base_url": "http://127.0.0.1:9/v1",
        "dialect": "compatible",
        "probed_at": "2026-11-27T04:00:00",
    }
    return Card(**{**described, **fields})


def test_a_card_is_kept_by_address_and_model_and_read_by_others_at_once(tmp_path: Path) -> None:
    mine, others = (Cards(Settings(home=tmp_path / "home")) for _ in range(2))
    one, two = a_card(findings={"n": Finding("honoured", "it gave 2")}), a_card(model="large", context_window=9)
    endpoint = Endpoint(base_url="http://127.0.0.1:9/v1")
    assert others.of(endpoint, "small") is None
    mine.keep(one)
    assert others.of(endpoint, "small") == one
    others.keep(two)
    assert (mine.of(endpoint, "small"), mine.of(endpoint, "large")) == (one, two)
    mine.keep(newer := replace(one, requests=3))
    assert others.of(endpoint, "small") == newer
    assert others.of(Endpoint(base_url="http://127.0.0.1:8/v1"), "small") is None


def test_a_damaged_file_of_cards_is_told(tmp_path: Path) -> None:
    cards = Cards(Settings(home=tmp_path))
    cards.file.write_text("{")
    with pytest.raises(InputError, match=r"cards\.json' is damaged .*; delete it, and probe again"):
        cards.get("any")
    cards.file.write_text(json.dumps({"format": 9, "cards": {}}))
    with pytest.raises(InputError, match="has format 9; this version reads 1"):
        cards.get("any")


# --- what follows


@pytest.mark.parametrize(
    ("manners", "config", "more", "says_"),
    [
        (
            Manners(prefill="ignored"),
            {},
            {"prefill": "Sure"},
            "not continue one: it answered as if no answer had been begun",
        ),
        (Manners(prefill="refused"), {}, {"prefill": "Sure"}, "it answered 400: This model does not support assistant message"),
        (Manners(top=None), {}, {"logprobs": 1}, "logprobs is 1.* it takes the question for logprobs and gives none"),
        (Manners(top=5), {}, {"logprobs": 6}, "logprobs is 6.* it gives 5 alternatives at most"),
        (Manners(top_k="ignored"), {"top_k": 3}, {}, "top_k is 3.* it takes top_k 1 and samples as without it"),
        (Manners(seed="ignored"), {"seed": 3}, {}, "seed is 3.* it gave two texts for one seed"),
        (Manners(logit_bias="ignored"), {"logit_bias": {3: 1}}, {}, "logit_bias is .* writes the same text as without it"),
        (
            Manners(n="ignored"),
            {"num_return_sequences": 2, "do_sample": True},
            {},
            "num_return_sequences is 2.* it gave 1 of 2 completions",
        ),
        (Manners(stream="ignored"), {"max_time": 3.0}, {}, "cannot be streamed from, .*not a stream"),
    ],
)
def test_what_was_found_missing_is_refused_with_that_reason_before_anything_is_sent(
    server: Server, manners: Manners, config: dict[str, Any], more: dict[str, Any], says_: str
) -> None:
    probed(server, manners)
    server.asked.clear()
    with remote(server) as model:
        with pytest.raises(UnsupportedError, match=says_) as caught:
            model.complete(HELLO, FEW.replace(**config), **more)
        assert f"(probed {model.card.probed_at[:10]})" in str(caught.value)  # type: ignore[union-attr]
    assert server.asked == []


@pytest.mark.parametrize(
    ("manners", "prompt", "says_"),
    [
        (Manners(raw="refused"), "Once", "the prompt is a raw text, which 'small' at .* does not take: it answered 400: no such"),
        (Manners(token_ids="ignored"), [1, 2], "the prompt is token ids, .* it counted three token ids as"),
        (Manners(chat="refused"), HELLO, "the prompt is messages, .* it answered 400: no such route"),
    ],
)
def test_prompts_that_are_not_taken_are_refused(server: Server, manners: Manners, prompt: Any, says_: str) -> None:
    probed(server, manners)
    with remote(server) as model, pytest.raises(UnsupportedError, match=says_):
        model.check(prompt, FEW)


def test_what_was_found_honoured_may_be_asked_for(server: Server) -> None:
    with remote(server) as model:
        for asked in (lambda: model.check(HELLO, FEW, prefill="Sure"), lambda: model.check(HELLO, FEW.replace(top_k=3))):
            with pytest.raises(UnsupportedError):
                asked()
        with pytest.raises(UnsupportedError, match="it is not known to repeat a prompt with logprobs"):
            model.check_score("a", "b")
        server.always = behaves(Manners())
        model.probe()
        (made,) = model.complete(HELLO, FEW.replace(top_k=3, do_sample=True), prefill="Sure")
        assert server.bodies[-1]["top_k"] == 3
        assert server.bodies[-1]["continue_final_message"] is True
        assert len(made.text.split()) == 4
        assert [token.text for token in model.score("the fox", " and a fox")] == [" and", " a", " fox"]


def test_an_answer_that_begins_like_its_prefill_is_doubled_only_where_the_endpoint_doubles(server: Server) -> None:
    probed(server, Manners())
    twice = says({"choices": [{"message": {"content": "ha ha"}, "finish_reason": "stop"}]})
    server.script = [twice]
    with remote(server) as model:
        assert not model.complete(HELLO, FEW, prefill="ha")[0].repeats_prefill
    probed(server, Manners(prefill="doubled"))
    server.script = [twice]
    with remote(server) as model:
        assert model.complete(HELLO, FEW, prefill="ha")[0].repeats_prefill


def test_an_owner_who_names_another_style_is_believed(server: Server) -> None:
    probed(server, Manners(prefill="ignored"))
    with remote(server, prefill="continue_final_message") as model, pytest.raises(UnsupportedError, match="no answer had been"):
        model.check(HELLO, FEW, prefill="Sure")
    with remote(server, prefill="assistant_turn") as model:
        assert model.check(HELLO, FEW, prefill="Sure")["messages"][-1] == {"role": "assistant", "content": "Sure"}


def test_where_temperature_is_refused_only_plain_sampling_is_left(server: Server) -> None:
    card = probed(server, Manners(temperature="refused"))
    assert card.verdict("temperature") == "refused"
    with remote(server) as model:
        with pytest.raises(UnsupportedError, match=r"temperature is 0\.0.*may not be set.*sample at temperature 1 .do_sample."):
            model.check(HELLO, FEW)
        assert "temperature" not in model.check(HELLO, FEW.replace(do_sample=True))
        assert model.complete(HELLO, FEW.replace(do_sample=True))[0].text


def test_welcome_logprobs_are_asked_for_as_far_as_they_are_given(server: Server) -> None:
    with remote(server) as model:
        assert model.alternatives(5) == 5
        for top, asked in ((None, None), (3, 3), (20, 5)):
            server.always = behaves(Manners(top=top))
            model.probe()
            assert model.alternatives(5) == asked


def test_abilities_say_why_not() -> None:
    unknown = abilities(Endpoint(dialect="compatible"), None)
    assert unknown.prefill == (
        "nobody said whether its endpoint continues a message that was begun; `ramify models probe` finds out"
    )
    assert unknown.doubles is None
    found = {
        "prefill": Finding("doubled", "it repeats"),
        "score": Finding("honoured", "it gave"),
        "logprobs": Finding("refused", "no"),
    }
    can = abilities(Endpoint(dialect="compatible"), a_card(findings=found, prefill_style="assistant_turn"))
    assert (can.prefill, can.score, can.logprobs, can.doubles) == (True, True, "no (probed 2026-11-27)", True)
    far = abilities(Endpoint(dialect="anthropic", prefill="assistant_turn"), None)
    assert (far.prefill, far.logprobs, far.doubles) == (True, "its protocol gives none", False)


def test_nothing_of_a_users_is_sent(server: Server) -> None:
    probed(server, Manners())
    said = {message["content"] for body in server.bodies for message in body.get("messages", ()) if message["role"] == "user"}
    assert said == {MESSAGE}
