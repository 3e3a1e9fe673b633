"""Ctrl-C in a chat, with a real process and a real signal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

SLOW_CHAT = """
import sys, time
from ramify.cli import options
from ramify.cli.main import main
from ramify.engine.model import Model
from ramify.models.chat import ChatTemplate
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

codec = ScriptedTokenizer(("x", "y", "z", "S", "U", "A"))
codec.chat_template = (
    "{% for m in messages %}{{ m['role'][0]|upper }}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}A{% endif %}"
)

def script(ids):
    # To y an endless x, slowly; to z one z.
    said = codec.decode(ids)
    if "z" in said.rpartition("U")[2]:
        best = codec.eos_token_ids[0] if said.endswith("Az") else codec.encode("z")[0]
    else:
        time.sleep(0.02)
        best = codec.encode("x")[0]
    return [0.0 if i == best else -20.0 for i in range(codec.vocab_size)]

options.open_model = lambda name, **how: Model(ScriptedBackend(script, codec, context_window=4096), chat=ChatTemplate(codec))
sys.argv = ["ramify", "chat"]
main()
"""


def test_an_interrupt_ends_the_answer_and_not_the_chat(tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_CHAT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"RAMIFY_HOME": str(tmp_path)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"y\n")
        process.stdin.flush()
        assert process.stdout.read(3) == b"xxx"
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(f"z\n/save {saved}\n/quit\n".encode(), timeout=30)
    lines = rest.decode().splitlines()
    assert set(lines[0]) <= {"x"}
    assert lines[1:] == ["z", f"4 messages in {saved}"]
    assert errors.decode() == "[cancelled]\n"
    assert process.returncode == 0
    assert f'"content": "xxx{lines[0]}"' in saved.read_text("utf-8")
