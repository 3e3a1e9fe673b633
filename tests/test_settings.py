"""The environment, read in one place."""

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from ramify.errors import InputError
from ramify.settings import Settings


def test_an_empty_environment_leaves_every_choice_open() -> None:
    home = Path(platformdirs.user_data_dir("ramify", appauthor=False))
    assert Settings.load({}) == Settings.load({"RAMIFY_DEVICE": "", "RAMIFY_HOME": " "}) == Settings(home=home)


def test_what_the_environment_says_is_taken(tmp_path: Path) -> None:
    said = {"RAMIFY_HOME": str(tmp_path), "RAMIFY_DEVICE": "cpu", "RAMIFY_PRECISION": "bfloat16", "RAMIFY_THREADS": "3"}
    said["OPENAI_BASE_URL"] = "http://localhost:8000/v1"
    assert Settings.load(said) == Settings(
        home=tmp_path,
        device="cpu",
        precision="bfloat16",
        threads=3,
        threads_said=True,
        openai_base_url="http://localhost:8000/v1",
    )


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_threads_that_cannot_be_is_refused(threads: str) -> None:
    with pytest.raises(InputError, match=r"RAMIFY_THREADS is '.*'; it must be a whole number of at least 1"):
        Settings.load({"RAMIFY_THREADS": threads})


def test_reading_settings_and_names_loads_nothing_heavy() -> None:
    code = (
        "import sys, ramify.settings, ramify.models.registry, ramify.models.loading;"
        "print(sorted({'torch', 'transformers', 'numpy', 'jinja2', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
