"""The whole loop on the embedded model: judged pairs, SFT, DPO, and the model tells its stories as the person prefers.

The short form is one style with few prompts and takes half a minute; the whole story is three styles, three seeds, forty prompts.
"""

from pathlib import Path

import pytest

from training import story


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))


@pytest.mark.slow
def test_a_preferred_style_is_learned_from_a_few_pairs(tmp_path: Path) -> None:
    told = story.tell(story.STYLES["moral"], 0, tmp_path, count=12, held=4, judged=4)
    pairs = told.report.pairs["validation"]
    assert pairs["margin_after"] > pairs["margin_before"] + 5
    assert told.report.losses["validation"]["after"] < told.report.losses["validation"]["before"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("style", story.STYLES)
def test_the_loop_closes_for_every_style_and_seed(tmp_path: Path, style: str, seed: int) -> None:
    told = story.tell(story.STYLES[style], seed, tmp_path, count=40, held=20, judged=20)
    print(f"\n{style} {seed}: {told}", flush=True)
    assert told.report.pairs["validation"]["accuracy_after"] > 0.9
    assert told.shown_after - told.shown_before >= 0.4
    assert told.report.unrelated["worse"] < 0.05
