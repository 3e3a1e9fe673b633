"""The Llama family in few operations: who goes that way, what happens when it says something else, and how far it reaches."""

from pathlib import Path
from typing import Any

import pytest
import torch

import models_made_here
from ramify.models import loading
from ramify.models.base import Extension
from ramify.models.lean import LeanDecoder
from ramify.models.transformers import TransformersBackend

IDS = [5 + (7 * i) % 190 for i in range(30)]


def backend(folder: Path | str, **options: Any) -> TransformersBackend:
    return TransformersBackend.load(loading.resolve(folder), name="made here", fingerprint="none", **options)


def logits(ours: TransformersBackend) -> torch.Tensor:
    """(30, V), the first 20 in one piece, then a token at a time."""
    branch = ours.root()
    got = [ours.extend([Extension(branch, IDS[:20], 20)]).logits]
    return torch.cat(got + [ours.extend([Extension(branch, [i])]).logits for i in IDS[20:]])


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "qwen3"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_family_goes_the_short_way_and_says_what_the_long_one_says(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models_made_here.folder(name)
    short = backend(folder, precision=precision)
    assert short.model is None
    monkeypatch.setattr(LeanDecoder, "of", lambda model: None)
    long = backend(folder, precision=precision)
    assert long.model is not None
    torch.testing.assert_close(logits(short), logits(long), atol=5e-2 if precision == "int8" else 1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gemma3_text", "phimoe"])
def test_no_other_goes_that_way(name: str) -> None:
    assert backend(models_made_here.folder(name)).model is not None


def test_neither_does_a_half_precision() -> None:
    assert backend(models_made_here.folder("llama"), precision="bfloat16").model is not None


def test_one_of_the_family_that_says_something_else_goes_the_librarys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models_made_here.folder("llama")
    right = logits(backend(folder))
    short = LeanDecoder.__call__

    def wrong(self: LeanDecoder, *given: Any) -> Any:
        found, states = short(self, *given)
        return found * 1.1, states

    monkeypatch.setattr(LeanDecoder, "__call__", wrong)
    ours = backend(folder)
    assert (ours.model is not None, ours.info.shares_trunks) == (True, True)
    torch.testing.assert_close(logits(ours), right, atol=1e-4, rtol=1e-4)


def test_positions_beyond_the_angles_known_at_load_are_turned_as_the_others() -> None:
    tiny = Path(loading.__file__).parent / "embedded/tiny"
    ours = backend(tiny)
    ids = [5 + (7 * i) % 900 for i in range(1500)]
    branch, whole = ours.root(), ours.root()
    ours.extend([Extension(branch, ids[:1000], 0)])
    parts = [ours.extend([Extension(branch, ids[1000:1499], 0)]), ours.extend([Extension(branch, ids[1499:])])]
    from transformers import AutoModelForCausalLM

    library = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = library(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(parts[1].logits[0], expected, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(ours.extend([Extension(whole, ids)]).logits[0], expected, atol=2e-3, rtol=1e-3)
