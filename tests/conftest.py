"""Fixtures that more than one folder of tests uses."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Helper modules of the tests (`models_made_here`) are found whatever the import mode.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """`load(name)` gives the ramify model made here under that name (or "tiny"), in float32, loaded once a run."""
    import models_made_here
    import ramify

    @cache
    def loaded(name: str) -> Any:
        where = str(models_made_here.folder(name)) if name in models_made_here.CONFIGS else name
        return ramify.load(where, device="cpu", precision="float32")

    return loaded
