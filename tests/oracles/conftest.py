"""Every test here that loads a model runs on both backends: on torch and, with the slow ones, on llama.cpp with equal weights."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import hypothesis
import pytest

import gguf_made_here
from oracles import reference


@pytest.fixture(scope="session", params=["torch", pytest.param("gguf", marks=pytest.mark.slow)])
def load(request: pytest.FixtureRequest, load: Callable[[str], Any]) -> Iterator[Callable[[str], Any]]:
    """`load(name)` gives the model of that name in float32, loaded once a run.

    On gguf, a model that cannot be written as GGUF is played by another one where hypothesis draws it, and left out otherwise.
    """
    if request.param == "torch":
        yield load
        return
    import ramify

    pytest.importorskip("llama_cpp", reason="no llama.cpp: pip install 'ramify[gguf]' compiles it")

    @cache
    def in_llama_cpp(name: str) -> Any:
        return ramify.load(f"gguf:{gguf_made_here.file(name)}")

    def played(name: str) -> Any:
        if name not in gguf_made_here.NAMES and not hypothesis.currently_in_test_context():
            pytest.skip(f"{name} cannot be written as GGUF")
        return in_llama_cpp(gguf_made_here.STAND_INS.get(name, name))

    with pytest.MonkeyPatch.context() as patch:
        for name, other in gguf_made_here.STAND_INS.items():
            patch.setitem(reference.STAND_INS, name, other)
        yield played
