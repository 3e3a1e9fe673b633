"""What is imported when: a person who asks for help does not wait for a model's libraries."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "llguidance",
    "tokenizers",
    "safetensors",
    "peft",
    "jinja2",
    "huggingface_hub",
    "openai",
    "sqlalchemy",
    "alembic",
)

LOOK = "import json, sys; print('\\n' + json.dumps([name for name in {heavy} if name in sys.modules]))"


def loaded_by(statement: str) -> list[str]:
    """Which of HEAVY are loaded after a statement, in a Python of its own."""
    code = f"{statement}\n{LOOK.format(heavy=HEAVY)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def ramify(*arguments: str) -> str:
    return (
        "from ramify.cli.main import app\n"
        f"try:\n    app({list(arguments)!r}, prog_name='ramify')\n"
        "except SystemExit as end:\n    assert end.code in (0, 2), end.code"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import ramify",
        "import ramify; ramify.GenerationConfig(temperature=0.5).to_dict(); ramify.RamifyError",
        "import ramify; ramify.Completion",
        "import ramify.errors, ramify.settings, ramify.decoding.config",
        "import ramify.cli.complete, ramify.cli.chat, ramify.cli.models, ramify.cli.train, ramify.cli.demo",
        "import ramify.cli.completions, ramify.cli.samples, ramify.cli.facets, ramify.cli.tokens, ramify.cli.score",
        "import ramify.cli.search, ramify.cli.filters, ramify.cli.history, ramify.cli.rate, ramify.cli.prefer",
        "import ramify.inference, ramify.quality.plans, ramify.cli.generate, ramify.cli.lab",
        "import ramify.cli.importing, ramify.cli.export, ramify.cli.readiness, ramify.cli.duplicates, ramify.cli.decrypt",
        ramify("completions", "generate", "--help"),
        ramify("samples", "list", "--workspace", "nowhere.ramify"),
        ramify("--help"),
        ramify("--version"),
        ramify("complete", "--help"),
        ramify("models", "--help"),
        ramify("complete", "a", "--temperature", "-1"),
    ],
)
def test_no_heavy_library_is_loaded(statement: str) -> None:
    assert loaded_by(statement) == []


def test_help_of_all_commands_loads_no_command() -> None:
    code = f"{ramify('--help')}\nimport sys; print([name for name in sys.modules if name.startswith('ramify.cli.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['ramify.cli.main']"


def test_a_heavy_library_would_be_seen() -> None:
    assert loaded_by("import numpy") == ["numpy"]
