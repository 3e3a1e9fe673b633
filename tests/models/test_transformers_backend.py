"""The seam over the transformers library: whatever the architecture, branches say what the plain model says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import models_made_here
import ramify
from ramify.errors import InputError
from ramify.models import attention, fresh_tokens, kernels, loading
from ramify.models.base import Extension
from ramify.models.transformers import TransformersBackend

IDS = [5 + (7 * i) % 190 for i in range(45)]


def backend(folder: Path | str, **options: Any) -> TransformersBackend:
    return TransformersBackend.load(loading.resolve(folder), name="made here", fingerprint="none", **options)


def plain(folder: Path, ids: list[int]) -> Tensor:
    """(T, V): what the library says, with no cache of any kind."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([ids])).logits[0]
    return logits


@pytest.mark.parametrize("name", [*models_made_here.MAIN, *models_made_here.OTHERS])
def test_pieces_steps_and_forks_say_what_the_uncached_model_says(name: str) -> None:
    folder = models_made_here.folder(name)
    ours = backend(folder)
    there = torch.from_numpy(ours.codec.exists)
    expected = plain(folder, IDS)[:, there]
    trunk = ours.root()
    got = [ours.extend([Extension(trunk, IDS[:20], 20)])[0]]
    got += [ours.extend([Extension(trunk, IDS[20:30], 10)])[0]]
    # A fork in the middle, extended beside its trunk in one batch of unequal lengths.
    fork = ours.fork(trunk, 25)
    both = ours.extend([Extension(trunk, [IDS[30]], 1), Extension(fork, IDS[25:31], 6)])
    torch.testing.assert_close(both[1][:, there], expected[25:31], atol=1e-4, rtol=1e-4)
    got += [both[0]]
    got += [ours.extend([Extension(trunk, [i], 1)])[0] for i in IDS[31:]]
    torch.testing.assert_close(torch.cat(got)[:, there], expected, atol=1e-4, rtol=1e-4)
    assert ours.info.shares_trunks == (name not in ("bloom", "mamba"))


def test_new_tokens_see_what_stands_before_them_through_a_mask_as_they_do_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = backend(models_made_here.folder("qwen2"))

    def says() -> Tensor:
        trunk = ours.root()
        ours.extend([Extension(trunk, IDS[:20], 0)])
        fork = ours.fork(trunk, 17)
        return ours.extend([Extension(trunk, IDS[20:30], 10), Extension(fork, IDS[20:22], 2), Extension(ours.root(), IDS, 45)])[0]

    masked = says()
    monkeypatch.setattr(fresh_tokens, "MOST_MASKED", 0)
    torch.testing.assert_close(says(), masked, atol=1e-5, rtol=1e-5)


def test_ids_without_a_token_have_no_probability() -> None:
    ours = backend(models_made_here.folder("qwen2"))
    assert (ours.info.vocab_size, ours.info.tokenizer_size) == (320, 300)
    logits = ours.extend([Extension(ours.root(), IDS[:4], 4)])[0]
    assert torch.isneginf(logits[:, 300:]).all()
    assert torch.isfinite(logits[:, :300]).all()


def test_a_step_of_many_rows_says_what_each_row_says_alone() -> None:
    ours = backend(models_made_here.folder("llama"))
    trunk = ours.root()
    ours.extend([Extension(trunk, IDS[:30])])
    forks = [ours.fork(trunk, 10 + i) for i in range(8)]
    rows = [Extension(fork, [50 + i]) for i, fork in enumerate(forks)] + [Extension(ours.root(), IDS[:5])]
    together = ours.extend(rows).logits
    for i, row in enumerate(rows):
        alone = ours.root()
        ids = [*IDS[: 10 + i], 50 + i] if i < 8 else list(row.token_ids)
        torch.testing.assert_close(ours.extend([Extension(alone, ids)]).logits[0], together[i], atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 1, 2), (0, 3, 4, 1), (4, 3), (0, 1, 3, 4, 2), (0, 1), (3,)])
def test_rows_that_share_a_trunk_and_rows_of_their_own_step_together_in_any_order(order: tuple[int, ...]) -> None:
    """0 to 2 share 70 tokens and have a tail each, 1's of a third part; 3 and 4 are alone, so their paths have one part."""
    ours = backend(models_made_here.folder("llama"))
    long = [5 + (11 * i) % 190 for i in range(70)]

    def rows() -> list[Any]:
        trunk = ours.root()
        ours.extend([Extension(trunk, long)])
        forks = [ours.fork(trunk) for _ in range(3)]
        ours.extend([Extension(fork, [60 + i]) for i, fork in enumerate(forks)])
        ours.extend([Extension(forks[1], long[:66])])
        forks[1] = ours.fork(forks[1])
        own = [ours.root(), ours.root()]
        ours.extend([Extension(own[0], IDS[:7]), Extension(own[1], IDS[:9])])
        return [*forks, *own]

    alone = [ours.extend([Extension(row, [90 + i], 1)])[0] for i, row in enumerate(rows())]
    fresh = rows()
    together = ours.extend([Extension(fresh[i], [90 + i], 1) for i in order])
    for place, i in enumerate(order):
        torch.testing.assert_close(together[place], alone[i], atol=1e-5, rtol=1e-5)


def test_a_row_within_its_window_goes_the_same_way_beside_one_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = backend(models_made_here.folder("mistral"))
    short, long = ours.root(), ours.root()
    ours.extend([Extension(short, IDS[:3]), Extension(long, IDS[:30])])
    dense = attention._dense
    beyond: list[int] = []

    def watched(row: Any, *rest: Any) -> Tensor:
        beyond.append(row.past)
        return dense(row, *rest)

    monkeypatch.setattr(attention, "_dense", watched)
    other = ours.fork(short)
    beside = ours.extend([Extension(short, [50]), Extension(long, [60])])[0]
    assert set(beyond) == {30}
    alone = ours.extend([Extension(other, [50])])[0]
    assert set(beyond) == {30}
    torch.testing.assert_close(beside, alone, atol=1e-5, rtol=1e-4)


def test_in_bfloat16_a_row_of_a_linear_layer_is_the_same_in_any_batch() -> None:
    torch.manual_seed(0)
    packed = torch.nn.Sequential(torch.nn.Linear(128, 96)).to(torch.bfloat16).requires_grad_(False)
    if kernels.pack(packed) == 0:
        pytest.skip("this processor has no packed bfloat16 layers")
    x = torch.randn(1, 33, 128).to(torch.bfloat16)
    together = packed(x)
    for i in range(33):
        assert torch.equal(packed(x[:, i : i + 1])[0, 0], together[0, i])


def test_packed_layers_say_what_the_stock_ones_say() -> None:
    torch.manual_seed(0)
    stock = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.Linear(512, 64, bias=False)).to(torch.bfloat16)
    x = torch.randn(2, 5, 256).to(torch.bfloat16)
    with torch.inference_mode():
        before = stock(x).float()
        if kernels.pack(stock) == 0:
            pytest.skip("this processor has no packed bfloat16 layers")
        torch.testing.assert_close(stock(x).float(), before, atol=0.02, rtol=0.02)


def test_float32_is_the_default_and_a_precision_that_promises_less_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models_made_here.folder("llama")
    assert (backend(folder).info.dtype, backend(folder).info.batch_invariant) == ("float32", True)
    coarse = backend(folder, precision="bfloat16")
    assert (coarse.info.dtype, coarse.info.batch_invariant) == ("bfloat16", False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(InputError, match=r"float32 and 0\.0 GB are free.*bfloat16"):
        backend(folder)
    assert backend(folder, precision="float32").info.dtype == "float32"
    monkeypatch.undo()
    assert coarse.info.shares_trunks
    fine = backend(folder).extend([Extension(backend(folder).root(), IDS[:9], 9)]).logits
    rough = coarse.extend([Extension(coarse.root(), IDS[:9], 9)]).logits
    # 8 bits of mantissa over three layers, on logits whose standard deviation is about 2.5.
    assert float((fine - rough).abs().max()) < 0.3


def test_a_lora_folder_is_its_base_with_the_adapter_laid_over(tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    base = models_made_here.folder("llama")
    torch.manual_seed(0)
    tuned = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    ).eval()
    tuned.save_pretrained(tmp_path / "adapter")
    described = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    described["base_model_name_or_path"] = str(base)
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(described))
    with torch.inference_mode():
        expected = tuned(torch.tensor([IDS])).logits[0]
    untuned = plain(base, IDS)
    assert float((expected - untuned).abs().max()) > 0.01
    for ours in (
        backend(tmp_path / "adapter"),
        TransformersBackend.load(loading.resolve(base, adapter=tmp_path / "adapter"), name="x", fingerprint="x"),
    ):
        got = ours.extend([Extension(ours.root(), IDS, len(IDS))])[0]
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_the_template_and_the_precision_change_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path))
    spoilt = Path(shutil.copytree(models_made_here.folder("llama"), tmp_path / "model"))
    with ramify.load(str(spoilt)) as one:
        first = one.info.fingerprint
        assert one.complete([5, 6], max_new_tokens=1).fingerprint == first
    with ramify.load(str(spoilt), precision="float32") as same:
        assert same.info.fingerprint == first
    with ramify.load(str(spoilt), precision="bfloat16") as rounded:
        assert rounded.info.fingerprint != first
    config = json.loads((spoilt / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (spoilt / "tokenizer_config.json").write_text(json.dumps(config))
    with ramify.load(str(spoilt)) as two:
        assert two.info.fingerprint != first


def test_values_left_over_in_generation_config_are_shown_and_not_applied(tmp_path: Path, load: Callable[[str], Any]) -> None:
    spoilt = Path(shutil.copytree(models_made_here.folder("llama"), tmp_path / "model"))
    said = json.loads((spoilt / "generation_config.json").read_text())
    said |= {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}
    (spoilt / "generation_config.json").write_text(json.dumps(said))
    with ramify.load(str(spoilt), precision="float32") as model:
        assert model.info.left_over == {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}
        assert model.complete(IDS[:9], max_new_tokens=8).token_ids == load("llama").complete(IDS[:9], max_new_tokens=8).token_ids
