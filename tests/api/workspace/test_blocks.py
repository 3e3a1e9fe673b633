"""Block by block over HTTP."""

from typing import Any

import pytest
from tests.api.workspace.speaking import Speaker

SHORT = {"max_new_tokens": 6, "temperature": 1.0, "seed": 1}


@pytest.fixture
def blocks(api: Speaker) -> Any:
    sample = api.post("/samples", prompt=[{"role": "user", "content": "Tell a story."}])
    return api.post(f"/samples/{sample['id']}/blocks")


def test_blocks_are_proposed_accepted_edited_written_and_saved(api: Speaker, blocks: Any) -> None:
    at = f"/blocks/{blocks['key']}"
    proposed = api.post(f"{at}/propose", n=2, config=SHORT)
    assert [block["tokens"] for block in proposed["proposed"]] == [6, 6]
    accepted = api.post(f"{at}/accept", index=0, version=proposed["version"])
    assert accepted["text"] == proposed["proposed"][0]["text"]
    assert accepted["proposed"] == []
    assert api.refusal("POST", f"{at}/undo", {"version": proposed["version"]})[:2] == (409, "stale")
    second = api.post(f"{at}/propose", n=1, config=SHORT, instruction="Mention a cat.")
    edited = api.post(f"{at}/accept", index=0, edited=second["proposed"][0]["text"] + " Yes.")
    assert edited["text"] == accepted["text"] + second["proposed"][0]["text"] + " Yes."
    assert edited["blocks"][1]["origins"] == ["sampled", "typed"]
    api.post(f"{at}/write", text="The end.")
    assert api.post(f"{at}/undo")["text"] == edited["text"]
    written = api.post(f"{at}/write", text=" The end.")
    assert [block["origins"] for block in written["blocks"]] == [["sampled"], ["sampled", "typed"], ["typed"]]
    assert "".join(block["text"] for block in written["blocks"]) == written["text"]
    saved = api.post(f"{at}/save")
    assert (saved["text"], saved["finish_reason"], saved["truncated"]) == (written["text"], "user", True)
    assert api.get(at) == written
    api.delete(at)
    assert api.refusal("GET", at)[:2] == (404, "not_found")


def test_shorter_and_longer_ones_are_of_other_lengths(api: Speaker, blocks: Any) -> None:
    at = f"/blocks/{blocks['key']}"
    first = api.post(f"{at}/propose", n=1, config=SHORT)["proposed"][0]
    config = {"temperature": 1.0, "seed": 2}
    shorter = api.post(f"{at}/propose", n=2, config=config, like={"index": 0, "length": "shorter"})["proposed"]
    assert all(block["tokens"] < first["tokens"] for block in shorter)


def test_what_blocks_cannot_do_is_refused(api: Speaker, blocks: Any) -> None:
    at = f"/blocks/{blocks['key']}"
    assert api.refusal("POST", f"{at}/accept", {"index": 0})[0] == 400
    assert api.refusal("POST", f"{at}/undo", {})[0] == 400
    assert api.refusal("POST", f"{at}/propose", {"config": {"stop_strings": ["x"]}})[0] == 400
    raw = api.post("/samples", prompt="Once")
    started = api.post(f"/samples/{raw['id']}/blocks")
    told = api.refusal("POST", f"/blocks/{started['key']}/propose", {"instruction": "shorter"})
    assert told[:2] == (400, "unsupported")
