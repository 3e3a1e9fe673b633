"""A remote model in the workspace: asked over a real socket, its completions kept like any other's."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.endpoint_made_here import Server, chat, delta, says, serving, streams
from tests.endpoint_with_a_model import Manners, behaves

from ramify.engine.model import Model
from ramify.errors import RemoteError, UnsupportedError
from ramify.models.endpoints import Endpoint
from ramify.models.registry import Registry
from ramify.models.remote import Remote, Retries
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.store.records import CompletionRecord, SpanRecord
from ramify.store.tables import metadata
from ramify.workbench import remote_writing
from ramify.workbench.workspace import Workspace
from workbench.test_making_completions import TABLE

KEY = "sk-never-stored-never-stored-123"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    remote_writing._silent.clear()


@pytest.fixture
def ws(where: str) -> Iterator[Workspace]:
    with Workspace.open(where) as opened:
        yield opened


def far(server: Server, **endpoint: Any) -> Remote:
    retries = Retries(tries=2, first_s=0.001)
    return Remote("big", Endpoint(base_url=server.url, **endpoint), name="far", retries=retries)


def told(*tokens: tuple[str, float, dict[str, float]]) -> dict[str, Any]:
    return {
        "content": [
            {
                "token": text,
                "bytes": list(text.encode()),
                "logprob": logprob,
                "top_logprobs": [{"token": t, "bytes": list(t.encode()), "logprob": p} for t, p in top.items()],
            }
            for text, logprob, top in tokens
        ]
    }


def one(made: CompletionRecord | list[CompletionRecord]) -> CompletionRecord:
    assert not isinstance(made, list)
    return made


def test_a_completion_by_name_says_how_it_was_made_and_keeps_no_key(ws: Workspace, server: Server) -> None:
    answer = chat("Hi you", usage={"prompt_tokens": 9, "completion_tokens": 2}, system_fingerprint="fp-7")
    answer["choices"][0]["logprobs"] = told(("Hi", -0.5, {"Hi": -0.5, "Ho": -1.0}), (" you", -3.0, {"!": -0.1, " me": -2.0}))
    server.script = [says(answer)]
    made = one(ws.generate(ws.samples.add(HELLO), model="openai:small", temperature=0.5, max_new_tokens=7, seed=3))
    assert server.bodies == [
        {
            "model": "small",
            "messages": HELLO,
            "temperature": 0.5,
            "max_tokens": 7,
            "seed": 3,
            "logprobs": True,
            "top_logprobs": 5,
        }
    ]
    assert server.asked[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert (made.text, made.model, made.finish_reason, made.truncated) == ("Hi you", "openai:small", "eos", False)
    assert (made.token_ids, made.spans, made.seed) == (None, (SpanRecord(0, 6, "sampled"),), 3)
    assert made.config == {"temperature": 0.5, "max_new_tokens": 7, "seed": 3}
    assert made.fingerprint == ws.model("openai:small").fingerprint  # type: ignore[union-attr]
    assert made.details["remote"] == {
        "endpoint": server.url,
        "model": "small-1",
        "system_fingerprint": "fp-7",
        "id": "id-1",
        "reported_finish": "stop",
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0},
    }
    (measured,) = ws.logprobs.of(made.id)
    assert [(t.text, t.logprob, t.rank, math.isnan(t.entropy)) for t in measured.tokens] == [
        ("Hi", -0.5, 1, True),
        (" you", -3.0, 0, True),
    ]
    assert [(piece, logprob) for _, piece, logprob in measured.tokens[0].alternatives] == [(b"Hi", -0.5), (b"Ho", -1.0)]
    assert (made.mean_logprob, made.min_logprob) == (-1.75, -3.0)
    assert [record.name for record in ws.history.list(limit=1)] == ["generate"]
    ws.undo()
    assert ws.completions.of(1) == []
    ws.redo()
    assert ws.logprobs.of(made.id)[0].tokens[1].text == " you"
    with ws.database.reading() as connection:
        written = repr([connection.execute(table.select()).all() for table in metadata.sorted_tables])
    assert "id-1" in written
    assert KEY not in written
    for path in Path(ws.database.where).parent.glob("w.ramify*") if ws.database.dialect == "sqlite" else ():
        assert KEY.encode() not in path.read_bytes()


def test_local_and_remote_models_work_at_once(ws: Workspace, server: Server) -> None:
    """Two remotes answer only when both have been asked."""
    both = threading.Barrier(2)

    def together(text: str) -> Any:
        def reply(handler: Any) -> None:
            both.wait(timeout=10)
            says({"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]})(handler)

        return reply

    server.script = [together("x"), together("x")]
    local = Model(ScriptedBackend(TABLE))
    sample = ws.samples.add("a")
    made = ws.generate(sample, model=[local, "openai:one", "openai:two"], max_new_tokens=5)
    assert isinstance(made, list)
    assert [(each.model, each.text) for each in made] == [("scripted", "bc"), ("openai:one", "x"), ("openai:two", "x")]
    assert [each.name for each in ws.history.list(limit=3)] == ["generate"] * 3


def test_where_one_model_fails_the_completions_of_the_others_are_kept(ws: Workspace, server: Server) -> None:
    server.always = says({"error": {"message": "no such model"}}, 404)
    local = Model(ScriptedBackend(TABLE))
    with pytest.raises(RemoteError, match="no such model"):
        ws.generate(ws.samples.add("a"), model=["openai:none", local], max_new_tokens=5)
    assert [each.model for each in ws.completions.of(1)] == ["scripted"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_beams": 4}, "num_beams"),
        ({"top_k": 5}, "top_k"),
        ({"prefill": "Dear"}, "prefill"),
        ({"required_words": ("x",)}, "required_words"),
    ],
)
def test_what_a_remote_cannot_do_is_refused_by_name_before_anything_is_written(
    ws: Workspace, server: Server, fields: dict[str, Any], named: str
) -> None:
    sample, raw = ws.samples.add(HELLO), ws.samples.add("a")
    local = Model(ScriptedBackend(TABLE))
    acts = [lambda: ws.generate(sample, model="openai:big", **fields), lambda: ws.draft(sample, model="openai:big", **fields)]
    if named != "prefill":  # which goes with a raw text everywhere
        acts.append(lambda: ws.generate(raw, model=[local, "openai:big"], max_new_tokens=3, **fields))
    for act in acts:
        with pytest.raises(UnsupportedError, match=named):
            act()
    assert (ws.search.completions(), server.asked, [a.name for a in ws.history.list()]) == ([], [], ["add sample"] * 2)


def test_ways_that_need_branches_are_refused_by_name(ws: Workspace, server: Server) -> None:
    sample = ws.samples.add("a")
    for act, what in (
        (ws.beam_tree, "a beam tree"),
        (ws.token_by_token, "token by token"),
        (ws.blocks, "block by block"),
    ):
        with pytest.raises(UnsupportedError, match=f"openai:big is remote and decodes no branches, which {what} needs"):
            act(sample, model="openai:big")
    assert server.asked == []


def test_a_draft_streams_and_an_aborted_one_keeps_its_text(ws: Workspace, server: Server) -> None:
    server.script = [
        streams([delta("Once"), delta(" upon"), delta(finish="stop")]),
        streams([delta("Once"), delta(" upon")], done=False, then="hold"),
        streams([delta("Once"), delta(" up")], done=False, then="break"),
    ]
    sample = ws.samples.add(HELLO)
    whole = ws.draft(sample, model="openai:small", max_new_tokens=9)
    assert "".join(event.text for event in whole.events()) == "Once upon"
    assert (whole.record.text, whole.record.finish_reason, whole.record.draft) == ("Once upon", "eos", True)
    assert whole.save().draft is False
    left = ws.draft(sample, model="openai:small", max_new_tokens=9)
    for n, _ in enumerate(events := left.events()):
        if n == 1:
            events.close()  # type: ignore[attr-defined]
            break
    assert server.left.wait(30)
    kept = ws.completions.get(left.record.id)
    assert (kept.text, kept.finish_reason, kept.truncated, kept.draft) == ("Once upon", "cancelled", True, True)
    assert kept.spans == (SpanRecord(0, 9, "sampled"),)
    broken = ws.draft(sample, model="openai:small", max_new_tokens=9)
    with pytest.raises(RemoteError):
        list(broken.events())
    kept = ws.completions.get(broken.record.id)
    assert (kept.text, kept.finish_reason, kept.truncated) == ("Once up", "error", True)
    assert [each.name for each in ws.history.list()].count("add completion") == 3


def test_a_draft_is_on_disk_while_it_grows(ws: Workspace, server: Server) -> None:
    server.script = [streams([*(delta("x") for _ in range(40)), delta(finish="stop")])]
    draft = ws.draft(ws.samples.add(HELLO), model="openai:small", max_new_tokens=99)
    seen = []
    for _ in draft.events():
        seen.append(ws.completions.get(draft.record.id).text)
    assert {"", "x" * 16, "x" * 32} <= set(seen)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_prefill_that_an_endpoint_repeats_is_not_doubled(ws: Workspace, server: Server, repeated: bool) -> None:
    model = far(server, dialect="vllm", prefill="continue_final_message")
    said = "Dear Ann," if repeated else "r Ann,"
    pieces = ["De", "ar", " Ann,"] if repeated else ["r Ann", ","]
    begun = "Dea"
    server.script = [says(chat(said)), streams([*map(delta, pieces), delta(finish="stop", stop_reason=None)])]
    sample = ws.samples.add(HELLO)
    made = one(ws.generate(sample, model=model, prefill=begun))
    draft = ws.draft(sample, model=model, prefill=begun)
    streamed = "".join(event.text for event in draft.events())
    expected = ("Dear Ann,", 3, (SpanRecord(0, 3, "prefill"), SpanRecord(3, 9, "sampled")), "r Ann,")
    for record in (made, draft.record):
        assert (record.text, record.generated_start, record.spans, record.generated_text) == expected
    assert streamed == "r Ann,"


def test_an_endpoint_that_refuses_logprobs_is_asked_without_and_then_no_more(ws: Workspace, server: Server) -> None:
    refused = says({"error": {"message": "logprobs are not supported with this model"}}, 400)
    server.script = [refused, says(chat("one")), says(chat("two")), streams([delta("three"), delta(finish="stop")])]
    sample = ws.samples.add(HELLO)
    for text in ("one", "two"):
        assert one(ws.generate(sample, model="openai:small", max_new_tokens=4)).text == text
    assert ["logprobs" in body for body in server.bodies] == [True, False, False]
    remote_writing._silent.clear()
    server.script.insert(0, refused)
    draft = ws.draft(sample, model="openai:small", max_new_tokens=4)
    assert next(event.text for event in draft.events()) == "three"


def test_measures_are_kept_only_where_every_token_was_measured(ws: Workspace, server: Server) -> None:
    answer = chat("Hi")
    answer["choices"][0]["logprobs"] = told(("H", -9999.0, {}), ("i", -0.5, {}))
    server.script = [says(answer)]
    made = one(ws.generate(ws.samples.add(HELLO), model="openai:small", max_new_tokens=4))
    assert (ws.logprobs.of(made.id), made.mean_logprob) == ([], None)


def test_a_truncated_remote_completion_is_tokenized_once_for_a_local_model_and_goes_on(
    ws: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [says({"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]})]
    sample = ws.samples.add("a")
    parent = one(ws.generate(sample, model=far(server), max_new_tokens=1))
    assert (parent.truncated, parent.token_ids) == (True, None)
    local = Model(ScriptedBackend(TABLE))
    encoded: list[str] = []
    encode = ScriptedTokenizer.encode

    def counted(self: ScriptedTokenizer, text: str, **more: Any) -> Any:
        encoded.append(text)
        return encode(self, text, **more)

    monkeypatch.setattr(ScriptedTokenizer, "encode", counted)
    first, second = (ws.continue_(parent, model=local) for _ in range(2))
    ws.score(parent, model=local)
    assert (first.text, first.token_ids, first.parent_id) == ("bc", (1, 2, 3), parent.id)
    assert first.spans == second.spans == (SpanRecord(0, 1, "sampled"), SpanRecord(1, 3, "sampled"))
    assert encoded.count("b") == 1
    assert ws.database.tokenizations.of(parent.id, "scripted") == (1,)


def test_a_remote_goes_on_from_the_text_and_the_origins_stay(ws: Workspace, server: Server) -> None:
    answer = says({"choices": [{"index": 0, "text": "!", "finish_reason": "stop"}]})
    server.script = [answer, answer]
    local = Model(ScriptedBackend(TABLE))
    sample = ws.samples.add("a")
    cut = one(ws.generate(sample, model=local, max_new_tokens=1))
    child = ws.continue_(cut, model=far(server, dialect="vllm"), max_new_tokens=3)
    assert server.bodies[0]["prompt"] == "ab"
    assert (child.text, child.token_ids, child.parent_id, child.model) == ("b!", None, cut.id, "far")
    assert child.spans == (SpanRecord(0, 1, "sampled"), SpanRecord(1, 2, "sampled"))
    with ws.token_by_token(sample, model=local, prefill="c") as session:
        session.type("a")
        session.pick(1)
        typed = session.save()
    ws._models["scripted"] = local
    grown = ws.continue_(typed, model=far(server, dialect="vllm"), max_new_tokens=3)
    assert [(s.start, s.end, s.origin) for s in grown.spans] == [
        (0, 1, "prefill"),
        (1, 2, "typed"),
        (2, 3, "picked"),
        (3, 4, "sampled"),
    ]
    chatty = ws.write(ws.samples.add(HELLO), "Well", truncated=True)
    with pytest.raises(UnsupportedError, match=f"completion {chatty.id} cannot be continued by far: a prefill"):
        ws.continue_(chatty, model=far(server))


def test_the_maker_goes_on_where_no_model_is_named(ws: Workspace, server: Server) -> None:
    Registry().add("ours", "openai:small", endpoint=Endpoint(base_url=server.url, dialect="vllm"))
    said = [("one", "length"), (" two", "stop")]
    server.script = [says({"choices": [{"index": 0, "text": text, "finish_reason": end}]}) for text, end in said]
    parent = one(ws.generate(ws.samples.add("zero "), model="ours", max_new_tokens=1))
    child = ws.continue_(parent, max_new_tokens=9)
    assert (child.text, child.model, child.finish_reason) == ("one two", "ours", "eos")
    assert server.bodies[1]["prompt"] == "zero one"


def test_an_endpoint_that_can_scores_a_text_and_others_refuse(ws: Workspace, server: Server) -> None:
    made = ws.write(ws.samples.add("a "), "b c")
    chosen = {"tokens": ["a ", "b", " c", "!"], "token_logprobs": [None, -0.5, -1.5, -9.0], "top_logprobs": [None, {}, {}, {}]}
    server.script = [says({"choices": [{"index": 0, "text": "", "logprobs": chosen, "finish_reason": "length"}]})]
    found = ws.score(made, model=far(server, dialect="vllm"))
    assert [(t.text, t.logprob) for t in found.tokens] == [("b", -0.5), (" c", -1.5)]
    assert (found.model, found.mean_logprob, found.mean_entropy) == ("far", -1.0, None)
    with pytest.raises(UnsupportedError, match="cannot score a given text"):
        ws.score(made, model=far(server))
    with pytest.raises(UnsupportedError, match="far cannot score an answer to messages"):
        ws.score(ws.write(ws.samples.add(HELLO), "b"), model=far(server, dialect="vllm"))


# --- what was measured of an endpoint


def test_a_card_decides_what_is_asked_for_and_prices_what_came(ws: Workspace, server: Server) -> None:
    prices = {"prompt": "0.001", "completion": "0.01"}
    server.pages["/v1/models"] = {"data": [{"id": "big", "pricing": prices}]}
    server.always = behaves(Manners(top=2))
    sample = ws.samples.add("Once")
    with far(server) as model:
        model.probe()
        made = one(ws.generate(sample, model=model, max_new_tokens=3))
        assert server.bodies[-1]["logprobs"] == 2
        assert made.details["remote"]["usage"]["completion_tokens"] == 3
        assert made.details["remote"]["cost_usd"] == pytest.approx(0.001 + 0.03)
        server.always = behaves(Manners(top=None))
        model.probe()
        ws.generate(sample, model=model, max_new_tokens=3)
        assert "logprobs" not in server.bodies[-1]


def test_a_begun_answer_is_not_cut_where_the_endpoint_does_not_repeat_it(ws: Workspace, server: Server) -> None:
    sample = ws.samples.add(HELLO)
    server.always = behaves(Manners())
    with far(server) as model:
        model.probe()
        server.script = [says(chat("haha")), streams([delta("ha"), delta("ha", finish="stop")])]
        assert one(ws.generate(sample, model=model, prefill="ha", max_new_tokens=3)).text == "hahaha"
        draft = ws.draft(sample, model=model, prefill="ha", max_new_tokens=3)
        assert "".join(event.text for event in draft.events()) == "haha"  # type: ignore[union-attr]
        assert draft.save().text == "hahaha"


def test_anthropics_messages_make_completions_in_the_workspace(
    ws: Workspace, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    server.always = behaves(Manners(spoken=True))
    sample = ws.samples.add(HELLO)
    made = one(ws.generate(sample, model="anthropic:claude-small", prefill="Sure,", max_new_tokens=3))
    assert (made.model, made.truncated, made.text[:5]) == ("anthropic:claude-small", True, "Sure,")
    assert made.details["remote"]["usage"]["completion_tokens"] == 3
    draft = ws.draft(sample, model="anthropic:claude-small", max_new_tokens=3)
    assert len(list(draft.events())) > 1
    further = one(ws.continue_(made, max_new_tokens=3))
    assert further.text.startswith(made.text)
    assert server.bodies[-1]["messages"][-1] == {"role": "assistant", "content": made.text}
    with pytest.raises(UnsupportedError, match="takes messages only"):
        ws.generate(ws.samples.add("Once"), model="anthropic:claude-small", max_new_tokens=3)
    ws.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    if not ws.database.where.startswith("postgresql"):
        assert b"claude-small" in kept
    assert KEY.encode() not in kept
