"""Our own server, probed as any other endpoint: its card says what docs/serving.md promises."""

from pathlib import Path

import pytest
from tests.api.listening import TOKEN, Live

from ramify.models.cards import ASKED
from ramify.models.endpoints import Endpoint
from ramify.models.remote import Remote


def test_our_own_server_honours_everything_that_a_card_tells(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OWN_KEY", TOKEN)
    name = live.server.models.default
    with Remote(name, Endpoint(base_url=f"{live.url}/v1", api_key_env="OWN_KEY")) as remote:
        card = remote.probe()
        assert {what: found.verdict for what, found in card.findings.items()} == dict.fromkeys(ASKED, "honoured")
        assert (card.prefill_style, card.top_logprobs, card.logprobs_are) == ("continue_final_message", 100, "raw")
        window = live.server.models.get(name).info.context_window
        assert (card.server, card.context_window, card.dialect) == ("ramify", window, "compatible")
        assert (remote.prefills, remote.scores, remote.alternatives(5)) == (True, True, 5)
    assert TOKEN not in "".join(file.read_text() for file in (tmp_path / "home").iterdir())
