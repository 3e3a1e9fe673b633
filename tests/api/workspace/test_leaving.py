"""A client of the workspace's routes that leaves: what it waited for is cancelled, and nothing of it is kept."""

import time
from pathlib import Path

from tests.api.gates import gated
from tests.api.listening import TOKEN, listening
from tests.api.test_disconnecting import Caller, becomes
from tests.api.workspace.speaking import Speaker

from ramify.api.app import create_app
from ramify.workbench.workspace import Workspace


def test_who_leaves_a_beam_out_ends_it_within_a_step_and_the_tree_is_as_it_was(tmp_path: Path) -> None:
    model, gate = gated()
    with Workspace.open(tmp_path / "a.ramify") as workspace:
        app = create_app(token=TOKEN, workspace=workspace, load=lambda _: model)
        with listening(app) as live, live.client() as client:
            api = Speaker(client)
            sample = api.post("/samples", prompt="Once upon a time")["id"]
            tree = api.post(f"/samples/{sample}/trees")
            before = api.get(f"/trees/{tree['id']}")
            caller = Caller(live, f"/api/trees/{tree['id']}/beam-out", node=tree["root"], width=3, depth=50)
            gate.arrives()
            caller.hang_up()
            time.sleep(0.5)  # until the server has heard of it: that is not to be seen from outside
            gate.step()
            becomes(live, running=0, waiting=0)
            gate.leave_open()
            assert api.get(f"/trees/{tree['id']}") == before
            # And the tree goes on as if nothing had been.
            assert len(api.post(f"/trees/{tree['id']}/beam-out", node=tree["root"], width=3, depth=2)["ends"]) == 3


def test_who_leaves_while_the_model_finishes_a_session_leaves_the_session_as_it_was(tmp_path: Path) -> None:
    model, gate = gated()
    with Workspace.open(tmp_path / "a.ramify") as workspace:
        app = create_app(token=TOKEN, workspace=workspace, load=lambda _: model)
        with listening(app) as live, live.client() as client:
            api = Speaker(client)
            sample = api.post("/samples", prompt="Once upon a time")["id"]
            gate.step(100)
            key = api.post(f"/samples/{sample}/sessions")["key"]
            before = api.get(f"/sessions/{key}")
            gate.shut()
            caller = Caller(live, f"/api/sessions/{key}/finish", config={"max_new_tokens": 200, "ignore_eos": True})
            gate.arrives()
            caller.hang_up()
            time.sleep(0.5)
            gate.step()
            becomes(live, running=0, waiting=0)
            gate.leave_open()
            assert api.get(f"/sessions/{key}") == before
