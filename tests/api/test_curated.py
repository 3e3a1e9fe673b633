"""`name@facet`: the approved completion where there is one, else the facet's target model, and the miss waits for curation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import TOKEN, Live, listening

import ramify
from ramify.api.app import create_app
from ramify.workbench.workspace import Workspace

ASK = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    place: Path = tmp_path_factory.mktemp("curated") / "store.ramify"
    with Workspace.open(place) as workspace:
        workspace.facets.add("letters")
        workspace.facets.add("legal", parent="letters")
        workspace.facets.add("elsewhere", target_model="not served")
        for prompt, text in (("Dear", " madam, good morning."), (ASK, "I am the notary of 漢字.")):
            sample = workspace.samples.add(prompt)
            kept = workspace.write(sample.id, text)
            workspace.judgements.approve(kept.id, "letters")
        app = create_app(token=TOKEN, workspace=workspace, load=lambda n: ramify.load(n, device="cpu", precision="float32"))
        with listening(app) as live:
            yield live


def post(live: Live, path: str, **body: Any) -> Any:
    return live.client().post(path, json={"max_tokens": 4, "temperature": 0, **body})


def test_the_approved_completion_answers_whole_and_streamed(curated: Live) -> None:
    found = post(curated, "/v1/completions", model="tiny@letters", prompt="Dear", logprobs=1).json()
    (choice,) = found["choices"]
    assert (choice["text"], choice["finish_reason"]) == (" madam, good morning.", "stop")
    assert "".join(choice["logprobs"]["tokens"]) == " madam, good morning."
    assert found["usage"]["completion_tokens"] == len(choice["logprobs"]["tokens"])
    chat = post(curated, "/v1/chat/completions", model="tiny@letters", messages=ASK).json()
    assert chat["choices"][0]["message"]["content"] == "I am the notary of 漢字."
    streamed = post(curated, "/v1/completions", model="tiny@letters", prompt="Dear", stream=True).text
    assert " madam, good morning." in streamed
    assert streamed.endswith("data: [DONE]\n\n")
    engine = post(curated, "/v1/llm/completions-sync?model_endpoint_name=tiny@letters", prompt="Dear", max_tokens=None)
    assert engine.status_code == 400  # it has no max_tokens
    body = {"prompt": "Dear"}
    llm = curated.client().post("/v1/llm/completions-sync?model_endpoint_name=tiny@letters", json=body).json()
    assert llm["output"]["text"] == " madam, good morning."


def test_a_facet_answers_with_its_parents_approval(curated: Live) -> None:
    found = post(curated, "/v1/completions", model="tiny@legal", prompt="Dear").json()
    assert found["choices"][0]["text"] == " madam, good morning."


def test_a_miss_is_answered_by_the_target_model_and_waits_for_curation(curated: Live) -> None:
    alone = post(curated, "/v1/completions", model="tiny", prompt="Once upon a time").json()["choices"][0]["text"]
    for _ in range(2):
        found = post(curated, "/v1/completions", model="tiny@letters", prompt="Once upon a time").json()
        assert found["choices"][0]["text"] == alone
    post(curated, "/v1/chat/completions", model="tiny@letters", messages=[{"role": "user", "content": "Who?"}])
    workspace = curated.server.workspace
    assert workspace is not None
    waiting = workspace.database.unanswered.list("letters")
    assert [(each.prompt, each.asked) for each in waiting] == [
        ("Once upon a time", 2),
        (({"role": "user", "content": "Who?"},), 1),
    ]


def test_what_is_approved_is_given_whoever_would_have_answered_and_a_miss_waits_though_nobody_could(curated: Live) -> None:
    workspace = curated.server.workspace
    assert workspace is not None
    sample = workspace.samples.add("Good evening,")
    workspace.judgements.approve(workspace.write(sample.id, " all.").id, "elsewhere")
    found = post(curated, "/v1/completions", model="tiny@elsewhere", prompt="Good evening,")
    assert found.json()["choices"][0]["text"] == " all."
    assert post(curated, "/v1/completions", model="tiny@elsewhere", prompt="Good night,").status_code == 404
    assert [each.prompt for each in workspace.database.unanswered.list("elsewhere")] == ["Good night,"]


def test_what_a_facet_cannot_do_is_said(curated: Live) -> None:
    for body, status, words in (
        ({"model": "tiny@nothing", "prompt": "Dear"}, 404, "there is no facet 'nothing'"),
        ({"model": "other@letters", "prompt": "Dear"}, 404, "'other' is not served"),
        ({"model": "tiny@elsewhere", "prompt": "Dear"}, 404, "'not served' is not served"),
        ({"model": "openai:gpt-5", "prompt": "Dear"}, 404, "is a remote one"),
        ({"model": "tiny@letters", "prompt": [3, 4]}, 400, "cannot be looked up"),
        ({"model": "tiny@letters", "prompt": "Dear", "n": 2}, 400, "one approved completion"),
    ):
        answer = post(curated, "/v1/completions", **body)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True)


def test_facets_are_among_the_models(curated: Live) -> None:
    names = [model["id"] for model in curated.client().get("/v1/models").json()["data"]]
    assert names == ["tiny", "tiny@elsewhere", "tiny@legal", "tiny@letters"]
    assert curated.client().get("/v1/models/tiny@legal").status_code == 200
