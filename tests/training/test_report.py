"""Before and after: by tokens, by pairs, and on text that has nothing to do with it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ramify.cli.main import app
from ramify.store import Database
from ramify.store.records import NewCompletion
from ramify.training.plans import plan_from
from ramify.training.report import report
from ramify.training.report_page import as_html, as_markdown
from ramify.training.runs import execute

ANSWERS = {"Say hi": ("Hello <b>you</b>.", "No."), "Say bye": ("Good bye, you.", "No no."), "Say yes": ("Yes, you.", "Never.")}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which "tuned" is tiny after DPO on three pairs, and facet "kind"'s target."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMIFY_HOME", str(folder))
        with Database.open(folder / "w.ramify") as db:
            db.facets.add("kind")
            for prompt, texts in ANSWERS.items():
                sample = db.samples.add([{"role": "user", "content": prompt}])
                good, bad = (db.completions.add(sample, NewCompletion(text=text, finish_reason="written")) for text in texts)
                db.judgements.prefer(good, bad, "kind")
            execute(plan_from({
                "method": "dpo", "workspace": str(folder / "w.ramify"), "facets": ["kind"], "name": "tuned",
                "out": str(folder / "tuned"), "target_of": "kind", "lora": {"rank": 4},
                "select": {"validation": 0.34}, "train": {"max_steps": 6, "learning_rate": 0.005},
            }), db)  # fmt: skip
            assert db.facets.effective("kind").target_model == "tuned"
    return folder


def test_a_report_tells_tokens_pairs_losses_and_other_text(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tuned))
    texts = tuned / "texts.jsonl"
    texts.write_text(json.dumps({"text": "Once upon a time there was a cat."}) + "\n")
    found = report("tiny", "tuned", unrelated=texts)
    assert [each.side for each in found.completions] == ["chosen", "rejected"] * 3
    assert "".join(found.completions[0].tokens) == ANSWERS["Say hi"][0] + "<|im_end|>"
    assert found.losses.keys() == found.pairs.keys() == {"training", "validation"}
    learned = [each for each in found.completions if each.side == "chosen" and not each.validation]
    count = sum(len(each.tokens) for each in learned)
    assert found.losses["training"]["before"] == pytest.approx(-sum(sum(each.before) for each in learned) / count)
    assert found.losses["training"]["after"] == pytest.approx(-sum(sum(each.after) for each in learned) / count)
    pairs = found.pairs["training"]
    assert pairs["rows"] == 2
    assert pairs["margin_after"] > pairs["margin_before"] + 1
    assert found.unrelated["alarm"] == (found.unrelated["worse"] > 0.05)
    assert found.unrelated["texts"] == 1
    assert len(found.curve) >= 6
    page = as_html(found)
    assert page.count("<svg") == 2
    assert ">&lt;" in page  # a completion's own "<b>"
    assert "<b>" not in page
    assert page.count('<p class="tokens">') == 6
    assert "| loss on training, nats a token" in as_markdown(found)


def test_an_alarm_sounds_where_other_text_got_worse(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tuned))
    unrelated = tuned / "no.jsonl"
    # What DPO pushed away got less likely: text that is to stay, here the rejected answers.
    rows = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": bad}]}
        for prompt, (_, bad) in ANSWERS.items()
    ]
    unrelated.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = run("train", "report", "tiny", "tuned", "--unrelated", unrelated, "--out", tuned / "page.html", code=1)
    assert "alarm: unrelated text became" in output
    assert 'role="alert"' in (tuned / "page.html").read_text()
    assert "there is a file" in run("train", "report", "tiny", "tuned", "--out", tuned / "page.html", code=2)
    assert "was not made by `ramify train`" in run("train", "report", "tiny", "tiny", code=2)


def test_a_model_equals_itself(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.training.report import made_by

    monkeypatch.setenv("RAMIFY_HOME", str(tuned))
    found = report("tiny", "tiny", plan=plan_from(made_by("tuned")["plan"]))
    assert all(each.before == each.after for each in found.completions)
    assert (found.unrelated["worse"], found.alarm) == (0, False)
    assert found.unrelated["texts"] == 16
