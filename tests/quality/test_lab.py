"""The lab on models whose probabilities are written down: its laws, its report, and why a token was not taken."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model
from ramify.errors import ConfigError, InputError
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer
from ramify.prompts import HEDGEHOG, PAYMENT
from ramify.quality.explaining import explain, why_not
from ramify.quality.lab import Lab, LabReport, Run, run_plan
from ramify.quality.lab_html import lab_html
from ramify.quality.lab_markdown import lab_markdown
from ramify.quality.plans import Experiment, LabPrompt, Plan, document_004

HOSTILE = "</script><img src=x onerror=alert(1)>```"


@pytest.fixture(scope="module")
def model() -> Model:
    """After every word the next of a ring is likeliest (.5), then .3 and .2; EOS after eight words."""
    codec = ScriptedTokenizer(("a ", "b ", "c ", HOSTILE), bos="<s>", padding=3)

    def script(ids: tuple[int, ...]) -> list[float]:
        said = [i for i in ids if i < 4]
        row = [-1e9] * codec.vocab_size
        if len(said) >= 9:
            row[codec.eos_token_ids[0]] = 0.0
            return row
        last = said[-1] % 3 if said else 0
        for step, p in enumerate((0.5, 0.3, 0.2)):
            row[(last + 1 + step) % 3 if step else (3 if len(said) == 4 else (last + 1) % 3)] = math.log(p)
        return row

    return Model(ScriptedBackend(script, codec))


PLAN = Plan(
    name="small",
    max_new_tokens=20,
    prompts=(LabPrompt(title="one", prompt="a "), LabPrompt(title="json", prompt="b ", json_schema={"type": "array"})),
    experiments=(
        Experiment(title="greedy", settings={"do_sample": False}, repeats=3),
        Experiment(title="sampling", settings={"do_sample": True}, repeats=4),
        Experiment(title="inclusive", settings={"top_p": 0.6}),
        Experiment(title="exclusive", settings={"top_p": 0.6, "nucleus_rule": "exclusive"}),
        Experiment(title="one beam", settings={"num_beams": 1, "beam_rule": "early_stopped"}),
        Experiment(title="beams", settings={"num_beams": 3}),
        Experiment(title="impossible", settings={"required_words": ["zebra"]}, prompts=("one",)),
    ),
)


@pytest.fixture(scope="module")
def report(model: Model) -> LabReport:
    return run_plan([model], PLAN)


def test_the_laws_are_checked_and_hold(report: LabReport) -> None:
    checks = {check.title: check.holds for check in report.groups[0].checks}
    assert checks["greedy, 3 times: the same"] is True
    assert checks["one beam equals greedy"] is True
    assert checks["no id without a token was ever sampled"] is True
    assert checks["no token was chosen that its own settings had removed"] is True
    # Of .5, .3, .2 the inclusive rule keeps two at p = .6, the exclusive one; eight places, so a second one was drawn somewhere.
    assert checks["the two nucleus rules, T=1 p=0.6: differ where they must"] is True
    by_title = {run.title: run for run in report.groups[0].runs}
    assert by_title["exclusive"].token_ids == by_title["greedy"].token_ids


def test_a_lab_tells_each_completion_once_and_stands_at_any_moment(model: Model, report: LabReport) -> None:
    lab, told, stood = Lab([model], PLAN, max_rows=3), [], []

    def watch(place: int, run: Run) -> None:
        told.append((place, run.number))
        stood.append(sum(len(group.runs) for group in lab.report().groups))

    found = lab.run(watch=watch)
    assert sorted(told) == [(place, run.number) for place, group in enumerate(report.groups) for run in group.runs]
    assert len(told) == lab.asked
    # Each is in the report when it is told; the reading of others may be ahead of it.
    assert all(at <= there for at, there in enumerate(stood, 1))
    assert stood[-1] == lab.asked
    for mine, other in zip(found.groups, report.groups, strict=True):
        assert [(run.title, run.token_ids, run.metrics, run.shared) for run in mine.runs] == [
            (run.title, run.token_ids, run.metrics, run.shared) for run in other.runs
        ]
        assert mine.checks == other.checks


def test_a_lab_that_is_stopped_keeps_what_is_there_and_frees_the_model(model: Model) -> None:
    plan = Plan(
        name="long",
        prompts=PLAN.prompts[:1],
        experiments=tuple(Experiment(title=f"s{i}", settings={"do_sample": True, "seed": i}) for i in range(40)),
    )
    seen: list[Run] = []
    found = Lab([model], plan, max_rows=1).run(watch=lambda place, run: seen.append(run), stopped=lambda: len(seen) >= 3)
    assert 3 <= len(found.groups[0].runs) < 40
    assert {run.finish_reason for run in found.groups[0].runs} <= {"eos", "length"}
    assert model.engine.counters()["running"] == model.engine.counters()["waiting"] == 0
    # What was stopped is neither a failure nor a completion.
    assert found.groups[0].left_out == ()


def test_a_broken_law_is_seen(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.quality import lab_checks

    broken = Plan(
        name="broken",
        max_new_tokens=5,
        prompts=PLAN.prompts[:1],
        # Not greedy at all, but nobody told the check.
        experiments=(
            Experiment(title="greedy", settings={}),
            Experiment(title="beam", settings={"num_beams": 1, "beam_rule": "early_stopped"}),
        ),
    )
    found = run_plan([model], broken).groups[0]
    assert {check.title: check.holds for check in found.checks}["beam equals greedy"] is True
    wrong = [run if run.title == "greedy" else with_another_end(run) for run in found.runs]
    told = {check.title: check.holds for check in lab_checks.checks_of(model, model.ids_of("a ")[0], wrong)}
    assert told["beam equals greedy"] is False


def with_another_end(run: Any) -> Any:
    import dataclasses

    return dataclasses.replace(run, token_ids=(*run.token_ids[:-1], 0))


def test_all_completions_share_their_prompt_and_each_is_what_it_is_alone(model: Model, report: LabReport) -> None:
    group = report.groups[0]
    for run in group.runs:
        alone = model.complete("a ", run.config, logprobs=None)
        assert run.token_ids == alone.generated_token_ids, run.title
    sampled = [run for run in group.runs if run.experiment == "sampling"]
    assert [run.seed for run in sampled] == [1, 2, 3, 4]
    row = next(row for row in group.rows if row.experiment == "sampling")
    assert row.averages["tokens"].mean == sum(len(run.token_ids) for run in sampled) / 4
    assert row.averages["perplexity"].low <= row.averages["perplexity"].mean <= row.averages["perplexity"].high


def test_what_cannot_be_done_is_reported_in_its_place(report: LabReport) -> None:
    assert [title for title, _ in report.groups[0].left_out] == ["impossible"]
    assert "zebra" in report.groups[0].left_out[0][1]
    assert report.groups[1].left_out == ()


def test_json_is_judged_where_it_was_asked_for(report: LabReport) -> None:
    assert {run.json_valid for run in report.groups[0].runs} == {None}
    assert {(run.json_valid, run.schema_valid) for run in report.groups[1].runs} == {(False, False)}
    assert report.groups[1].rows[0].json_valid == 0


def test_a_prompt_that_does_not_fit_is_reported_and_the_others_run(model: Model) -> None:
    plan = PLAN.replaced(prompts=(LabPrompt(title="long", prompt="a " * 2000), LabPrompt(title="short", prompt="a ")))
    groups = run_plan([model], plan).groups
    assert "2001 tokens" in (groups[0].refused or "")
    assert groups[1].refused is None
    assert groups[1].runs
    assert "2001 tokens" in lab_markdown(run_plan([model], plan))


def test_why_not_names_the_rule(model: Model) -> None:
    ids = model.ids_of("a ")[0]
    config = GenerationConfig(do_sample=True, temperature=0.5, top_p=0.6, nucleus_rule="exclusive", suppress_tokens=[2])
    # .5 and .3 sharpened by T = .5 to .735 and .265: the first alone is above p, so the second goes by top_p.
    places = explain(model, ids, [1], config, top=3)
    assert [(c.token_id, c.removed_by) for c in places[0].candidates] == [(1, None), (2, "suppress_tokens"), (0, "top_p")]
    assert [c.probability for c in places[0].candidates] == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
    assert places[0].candidates[0].left == pytest.approx(1.0)
    # Without "c" the mass left is 70 %; of .25 and .04 the nucleus keeps .25 / .29.
    assert places[0].kept["suppress_tokens"] == pytest.approx(0.7, abs=1e-6)
    assert places[0].kept["top_p"] == pytest.approx(0.25 / 0.29, abs=1e-5)
    assert why_not(model, ids, [1], config, 0, "c ").removed_by == "suppress_tokens"
    assert why_not(model, ids, [1], GenerationConfig(), 0, "c ").removed_by is None
    with pytest.raises(InputError, match="position is 1"):
        why_not(model, ids, [1], config, 1, "c ")
    with pytest.raises(InputError, match="'a b ' is 2 tokens"):
        why_not(model, ids, [1], config, 0, "a b ")


def test_what_was_measured_while_generating_is_what_is_explained_afterwards(load: Any) -> None:
    model = load("llama")
    config = GenerationConfig(temperature=0.9, top_k=20, top_p=0.8, repetition_penalty=1.3, no_repeat_ngram_size=2, seed=3,
                              max_new_tokens=40, ignore_eos=True, forbidden_words=("the",))  # fmt: skip
    result = model.complete("Once upon a time", config, logprobs=4)
    places = explain(model, result.prompt_token_ids, result.generated_token_ids, config, top=4)
    for token, place in zip(result.logprobs, places, strict=True):
        assert (token.token_id, token.rank) == (place.token_id, place.rank)
        assert math.exp(token.logprob) == pytest.approx(place.probability, rel=1e-3)
        chosen = next(c for c in place.candidates if c.token_id == token.token_id)
        assert chosen.removed_by is None
        assert math.exp(token.processed.logprob) == pytest.approx(chosen.left, rel=1e-3)


def test_the_page_holds_what_models_wrote_as_data_only(report: LabReport) -> None:
    page = lab_html(report)
    assert any(HOSTILE in run.text for run in report.groups[0].runs)
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert not re.search(r'(?:src|href)="|url\(|@import|https?://(?!www\.w3\.org/2000/svg)', page)
    packed = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert packed
    content = json.loads(packed[1])
    group = content["groups"][0]
    assert [run["title"] for run in group["runs"]][:3] == ["greedy", "greedy #2", "greedy #3"]
    for run in group["runs"]:
        assert len(run["ids"]) == len(run["p"]) == len(run["h"]) == len(run["c"])
        assert all(str(i) in group["texts"] for i in run["ids"])


def test_the_markdown_has_every_text_in_a_fence_that_holds(report: LabReport) -> None:
    text = lab_markdown(report)
    for run in report.groups[0].runs:
        assert f"#### {run.title}\n" in text
    assert "````text\n" in text  # a text with three backticks needs four
    assert "✓ greedy, 3 times: the same: identical" in text


def test_document_004_is_tried_to_the_letter() -> None:
    plan = document_004(samples=2)
    assert [prompt.prompt for prompt in plan.prompts] == [HEDGEHOG, PAYMENT]
    settings = {e.title: dict(e.settings) for e in plan.experiments}
    assert plan.max_new_tokens == 1000
    assert plan.experiments[0].repeats == 3
    assert [settings[f"temperature {t}"]["temperature"] for t in ("0.001", "0.1", "0.5", "1", "10")] == [
        0.001,
        0.1,
        0.5,
        1.0,
        10.0,
    ]
    assert {(s["temperature"], s["top_p"], s["nucleus_rule"]) for t, s in settings.items() if t.startswith("nucleus")} == {
        (t, p, rule) for t, p in ((1, 0.9), (1, 0.15), (0.5, 0.9), (0.5, 0.15)) for rule in ("inclusive", "exclusive")
    }
    beams = [(s["num_beams"], s["length_penalty"]) for t, s in settings.items() if t.startswith("beams")]
    assert beams == [pair for pair in ((1, 1.0), (4, 1.0), (4, 0.5), (4, 2.0), (8, 1.0)) for _ in range(2)]
    assert {config.strategy for config in plan.configs} == {
        "greedy", "sampling", "contrastive", "beam", "beam_sampling", "diverse_beam", "forced_beam",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"experiments": [{"title": "x", "settings": {"top_p": 3}}]}, "experiment 'x': top_p is 3"),
        ({"experiments": [{"title": "x", "setings": {}}]}, "did you mean 'settings'"),
        ({"experiments": [{"title": "x", "settings": {}}] * 2}, "each with a title of its own"),
        ({"experiments": []}, "at least one"),
        ({"prompts": "a"}, "no list of prompts"),
        ({"prompts": [{"title": "x"}]}, r"prompts\[0\] is"),
        ({"experiments": [{"title": "x", "settings": {}, "prompts": ["y"]}]}, "which the plan does not have"),
        ({"sede": 1}, "did you mean 'seed'"),
    ],
)
def test_a_plan_that_cannot_be_honoured_is_refused(change: dict[str, Any], says: str) -> None:
    good = {"prompts": [{"title": "one", "prompt": "a "}], "experiments": [{"title": "greedy", "settings": {}}]}
    assert Plan.from_dict(good).configs == (GenerationConfig(max_new_tokens=1000, seed=1),)
    with pytest.raises((InputError, ConfigError), match=says):
        Plan.from_dict({**good, **change})


def test_the_command_writes_both_reports(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from ramify.cli import options
    from ramify.cli.main import app

    monkeypatch.setattr(options, "open_model", lambda name, **how: Model(model.engine.backend))
    plan, prompts, out = tmp_path / "plan.json", tmp_path / "prompts.jsonl", tmp_path / "out"
    plan.write_text(
        json.dumps(
            {"prompts": [{"title": "p", "prompt": "a "}], "experiments": [{"title": "greedy", "settings": {}, "repeats": 2}]}
        )
    )
    prompts.write_text('{"prompt": "b "}\n\n{"title": "third", "prompt": "c "}\n')
    arguments = ["lab", "--plan", str(plan), "--prompts", str(prompts), "--prompt", "a ", "--out", str(out), "-q"]
    result = CliRunner().invoke(app, arguments, prog_name="ramify")
    assert (result.exit_code, result.stdout.splitlines()) == (0, [str(out / "lab.html"), str(out / "lab.md")])
    written = (out / "lab.md").read_text("utf-8")
    assert re.findall(r"^## (.*)$", written, re.MULTILINE) == ["scripted: line 1", "scripted: third", "scripted: prompt"]
    assert (out / "lab.html").read_text("utf-8").startswith("<!doctype html>")
    for wrong, says in (
        (["--plan", "nothing"], "there is no plan 'nothing'"),
        (["--plan", str(prompts)], "is not JSON"),
        (["--plan", str(plan), "--samples", "3"], "--samples is of document-004"),
    ):
        refused = CliRunner().invoke(app, ["lab", *wrong, "--out", str(tmp_path / "none")], prog_name="ramify")
        assert (refused.exit_code, says in refused.stderr) == (2, True)
    assert not (tmp_path / "none").exists()


def test_every_law_is_seen_when_it_is_broken(model: Model, report: LabReport) -> None:
    import dataclasses

    from ramify.quality.lab_checks import checks_of

    prompt_ids, runs = model.ids_of("a ")[0], list(report.groups[0].runs)
    by_title = {run.title: run for run in runs}

    def told(**changes: Any) -> dict[str, bool | None]:
        wrong = [dataclasses.replace(run, **changes[run.title]) if run.title in changes else run for run in runs]
        return {check.title: check.holds for check in checks_of(model, prompt_ids, wrong)}

    laws = {title for title, holds in told().items() if holds is not None}
    assert laws == {title for title, holds in told().items() if holds is True}
    assert len(laws) == 5
    other = by_title["sampling"].token_ids
    assert other != by_title["greedy"].token_ids
    assert told(**{"greedy #2": {"token_ids": other}})["greedy, 3 times: the same"] is False
    assert told(**{"one beam": {"token_ids": other}})["one beam equals greedy"] is False
    # The exclusive rule's text can not hold the token that crosses p.
    same = by_title["inclusive"].token_ids
    assert told(exclusive={"token_ids": same})["the two nucleus rules, T=1 p=0.6: differ where they must"] is False
    padding = model.info.vocab_size - 1
    strange = told(sampling={"token_ids": (*other[:-1], padding)})
    assert strange["no id without a token was ever sampled"] is False
    gone = tuple(dataclasses.replace(place, removed_by="top_p") for place in by_title["exclusive"].places)
    assert told(exclusive={"places": gone})["no token was chosen that its own settings had removed"] is False


@pytest.mark.parametrize(
    ("text", "valid", "fits", "why"),
    [
        ('{"contractor": "Mike", "sum": 100, "currency": "RUB"}', True, True, None),
        ('{"contractor": "Mike", "sum": 100, "currency": "rubles"}', True, False, "rubles"),
        ('{"contractor": "Mike"}', True, False, "required"),
        ('Here it is: {"sum": 1}', False, False, "not JSON"),
        ("[" * 100_000, False, False, "not JSON"),
        ("", False, False, "not JSON"),
    ],
)
def test_json_is_judged_as_a_whole_and_by_its_schema(text: str, valid: bool, fits: bool, why: str | None) -> None:
    from ramify.quality.lab_trial import as_json
    from ramify.quality.plans import PAYMENT_SCHEMA

    found = as_json(text, LabPrompt(title="p", prompt="x", json_schema=PAYMENT_SCHEMA))
    assert found[:2] == (valid, fits)
    assert (why is None) == (found[2] is None)
    assert why is None or why in (found[2] or "")


def test_what_a_text_shares_with_greedy_and_what_it_is_worth_are_its_own(model: Model, report: LabReport) -> None:
    from ramify.quality.metrics import measure

    for group in report.groups:
        greedy = group.runs[0].token_ids
        for run in group.runs:
            common = 0
            while common < min(len(greedy), len(run.token_ids)) and greedy[common] == run.token_ids[common]:
                common += 1
            assert run.shared == common, run.title
            alone = measure(model, run.text, prompt=model.ids_of(group.prompt.prompt)[0])
            assert run.metrics.quality == pytest.approx(alone.quality, abs=1e-5), run.title
            assert run.metrics.tokens == alone.tokens
    assert len({run.shared for run in report.groups[0].runs}) > 1


def test_votes_make_contestants_of_experiments(report: LabReport) -> None:
    from ramify.quality.lab_comparison import blind_pair, comparison_of, prompts_of, text_of
    from ramify.quality.lab_content import report_content

    content = json.loads(json.dumps(report_content(report)))
    assert prompts_of(content) == ["one", "json"]
    runs = {run["number"]: run["experiment"] for run in content["groups"][0]["runs"]}
    texts = {number: text_of(content, (0, number))["text"].strip() for number in runs}
    # Sampling won over greedy twice and tied with beams once; a vote between two samplings is none between contestants.
    greedy, sampling, beams = (
        next(n for n, title in runs.items() if title == wanted) for wanted in ("greedy", "sampling", "beams")
    )
    votes = [((0, sampling), (0, greedy), 1.0), ((0, greedy), (0, sampling + 1), 0.0), ((0, beams), (0, sampling), 0.5),
             ((0, sampling), (0, sampling + 1), 1.0), ((1, greedy), (1, sampling), 1.0)]  # fmt: skip
    found = comparison_of(content, "one", votes)
    titles = [result.title for result in found]
    assert titles == list(dict.fromkeys(runs.values()))
    won = {title: found.won(place) for place, title in enumerate(titles)}
    assert {title: (each.mean, each.count) for title, each in won.items() if each} == {
        "greedy": (0.0, 2),
        "sampling": (pytest.approx(2.5 / 3), 3),
        "beams": (0.5, 1),
    }
    assert (len(found[titles.index("sampling")].samples), found[titles.index("beams")].diversity) == (4, None)
    assert found[titles.index("greedy")].avg_diversity == 0.0
    assert "no seed in common" not in found.report()
    # Pairs are of two contestants and two texts, of the least judged, on sides that chance chooses.
    drawn = [blind_pair(content, votes, prompt="one", seed=seed) for seed in range(40)]
    judged = {"greedy", "sampling", "beams"}
    for pair in drawn:
        assert pair is not None
        (_, a), (_, b) = pair
        assert runs[a] != runs[b]
        assert texts[a] != texts[b]
        assert not {runs[a], runs[b]} & judged
    assert any(pair and (pair[1], pair[0]) in drawn for pair in drawn)
    # None twice, until none is left.
    done: list[Any] = []
    while (pair := blind_pair(content, done, prompt="one", seed=len(done))) is not None:
        assert frozenset(pair) not in {frozenset(vote[:2]) for vote in done}
        done.append((*pair, 1.0))
    different = [(a, b) for a in runs for b in runs if a < b and runs[a] != runs[b] and texts[a] != texts[b]]
    assert len(done) == len(different) > 0
