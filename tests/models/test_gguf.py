"""GGUF files through llama.cpp: the same models as the folders they were made of, and their memory, errors and fingerprints.

The laws of the engine and the comparisons with transformers run on this backend with the slow tests (`oracles/conftest.py`).
"""

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("llama_cpp", reason="no llama.cpp: pip install 'ramify[gguf]' compiles it")
pytest.importorskip("gguf", reason="no package gguf: pip install 'ramify[gguf]'")

import gguf_made_here
import models_made_here
import ramify
from ramify.errors import InputError, UnsupportedError
from ramify.models import gguf_files
from ramify.models.base import Extension
from ramify.models.gguf_context import Context
from ramify.models.gguf_tokenizer import GGUFTokenizer
from ramify.models.registry import Registry

TEXTS = ("Once upon a time", "  Naïve café 😀 — привет,\n\tмир! 你好", "<|im_start|>user\n</s><s> x", "▁ <0x41> ", "'ll 1234 ok")


@pytest.fixture(scope="module")
def qwen2() -> Iterator[Any]:
    with ramify.load(f"gguf:{gguf_made_here.file('qwen2')}") as model:
        yield model


@pytest.fixture
def empty(qwen2: Any) -> Any:
    """The same with nothing remembered."""
    qwen2.on_engine(qwen2.engine.tree.clear).result()
    assert held(qwen2) == 0
    return qwen2


def held(model: Any) -> int:
    found: int = model.on_engine(model.engine.backend.size_bytes).result()
    return found


@pytest.mark.parametrize("name", gguf_made_here.NAMES)
def test_logprobs_are_torchs_to_the_fifth_digit_and_the_tokenizer_is_the_same(load: Any, name: str) -> None:
    theirs = load(name)
    with ramify.load(str(gguf_made_here.file(name))) as ours:
        said = theirs.complete("Once upon a time", max_new_tokens=12, logprobs=3, ignore_eos=True)
        assert ours.complete("Once upon a time", max_new_tokens=12, ignore_eos=True).token_ids == said.token_ids
        scored = ours.score("Once upon a time", list(said.token_ids), top=3)
        for mine, its in zip(scored.logprobs, said.logprobs, strict=True):
            assert mine.logprob == pytest.approx(its.logprob, abs=2e-4)
            assert [one.token_id for one in mine.alternatives] == [one.token_id for one in its.alternatives]
        assert ours.codec.fingerprint() == theirs.codec.fingerprint()
        assert ours.codec.literal_bytes == theirs.codec.literal_bytes
        for text in TEXTS:
            for special in (True, False):
                assert ours.codec.encode(text, special=special) == theirs.codec.encode(text, special=special)
        for what in ("vocab_size", "tokenizer_size", "context_window", "eos_token_ids", "bos_token_id", "pad_token_id"):
            assert getattr(ours.info, what) == getattr(theirs.info, what), what
        assert (ours.info.dtype, ours.info.batch_invariant, ours.info.shares_trunks) == ("float32", True, True)


def test_the_files_own_template_renders_messages_with_a_prefill(load: Any, qwen2: Any) -> None:
    messages = [{"role": "user", "content": "The <|im_end|> sea?"}]
    assert qwen2.ids_of(messages, prefill=" Son") == load("qwen2").ids_of(messages, prefill=" Son")
    result = qwen2.complete(messages, prefill=" Son", max_new_tokens=3)
    assert result.text == " Son" + result.generated_text


def test_ids_without_a_token_are_never_sampled(qwen2: Any) -> None:
    assert (qwen2.info.vocab_size, qwen2.info.tokenizer_size) == (320, 300)
    drawn = qwen2.completions("e", n=8, temperature=5.0, seed=0, max_new_tokens=30, ignore_eos=True)
    assert max(max(result.token_ids) for result in drawn) < 300


@pytest.mark.parametrize(("type", "largest"), [("float16", 0.05), ("bfloat16", 0.3), ("q8_0", 0.3)])
def test_smaller_types_stay_near_and_say_that_they_promise_less(load: Any, type: str, largest: float) -> None:
    said = load("tiny").complete("Once upon a time", max_new_tokens=24, ignore_eos=True)
    with ramify.load(f"gguf:{gguf_made_here.file('tiny', type)}") as ours:
        assert (ours.info.dtype, ours.info.batch_invariant) == (type, False)
        scored = ours.score("Once upon a time", list(said.token_ids))
        assert [t.logprob for t in scored.logprobs] == pytest.approx([t.logprob for t in said.logprobs], abs=largest)


# --- llama.cpp's own vocabulary, for files that carry no tokenizer.json


@pytest.fixture(scope="module")
def own() -> Iterator[GGUFTokenizer]:
    file = gguf_files.read(str(gguf_made_here.file("llama")))
    context = Context(file, threads=1)
    yield GGUFTokenizer(file, context)
    context.close()


def test_llama_cpps_vocabulary_has_the_same_bytes_and_special_tokens(load: Any, own: GGUFTokenizer) -> None:
    theirs = load("llama").codec
    assert own.literal_bytes == theirs.literal_bytes
    assert (own.special_ids, own.eos_token_ids, own.bos_token_id, own.size) == (
        theirs.special_ids,
        theirs.eos_token_ids,
        theirs.bos_token_id,
        theirs.size,
    )
    assert own.chat_template == theirs.chat_template
    assert own.exact


def test_llama_cpps_vocabulary_gives_back_every_text(own: GGUFTokenizer) -> None:
    for text in TEXTS:
        assert own.join(own.encode(text)) == text.encode()
        assert not set(own.encode(text)) & own.special_ids
    assert own.encode("<|im_start|>a")[:1] != [models_made_here.IM_START]
    assert own.encode_rendered("<|im_start|>a")[:1] == [models_made_here.IM_START]
    assert own.encode("a", special=True)[0] == models_made_here.BOS
    with pytest.raises(InputError, match="lone surrogate"):
        own.encode("a\ud800")


def test_a_constraint_runs_on_llama_cpps_vocabulary(own: GGUFTokenizer) -> None:
    from ramify.decoding.config import GenerationConfig
    from ramify.decoding.constraints import compile_constraint

    constraint = compile_constraint(GenerationConfig(regex="(yes|no)"), own)
    assert constraint is not None
    keep = constraint.keep(10)
    assert keep is not None
    allowed = {own.token_bytes[i] for i in torch.nonzero(keep).flatten().tolist()}
    assert {b"y", b"n"} <= allowed
    assert all(b"yes".startswith(data) or b"no".startswith(data) for data in allowed)


@pytest.fixture(scope="module")
def sentencepiece(shared: Path) -> GGUFTokenizer:
    """Llama 2's published vocabulary, which puts a space before every text."""
    import llama_cpp

    path = shared / "tokenizers" / "vectors" / "ggml-vocab-llama-spm.gguf"
    given = llama_cpp.llama_model_default_params()
    given.vocab_only = True
    vocab = llama_cpp.llama_model_get_vocab(llama_cpp.llama_model_load_from_file(str(path).encode(), given))
    context: Any = SimpleNamespace(vocab=vocab, vocab_size=llama_cpp.llama_vocab_n_tokens(vocab))
    return GGUFTokenizer(gguf_files.read(str(path)), context)


def test_a_sentencepiece_vocabulary_gives_the_published_ids(sentencepiece: GGUFTokenizer, shared: Path) -> None:
    stem = shared / "tokenizers" / "vectors" / "ggml-vocab-llama-spm.gguf"
    cases = stem.with_name(stem.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    expected = stem.with_name(stem.name + ".out").read_text().split("\n")[: len(cases)]
    assert [" ".join(map(str, sentencepiece.encode(case, special=True)[1:])) for case in cases] == [e.strip() for e in expected]


def test_a_sentencepiece_vocabulary_adds_no_space_to_what_must_be_exact(sentencepiece: GGUFTokenizer, tokenizer_of: Any) -> None:
    theirs = tokenizer_of("llama")
    assert sentencepiece.exact
    for text in ("a", " a", "sea", *TEXTS):
        assert sentencepiece.join(sentencepiece.encode(text)) == text.encode()
    for text in ("sea", " Hello world", "你好 😀", "<s>x"):
        assert sentencepiece.encode(text) == theirs.encode(text)
        assert sentencepiece.encode_literal(text) == theirs.encode_literal(text)
    for text in ("sea", "</s>sea"):
        assert sentencepiece.encode_rendered(text) == theirs.encode_rendered(text)


# --- memory


def test_the_bytes_return_exactly_after_finished_and_cancelled_requests(empty: Any) -> None:
    chance = random.Random(0)
    settings: list[dict[str, Any]] = [
        {},
        {"do_sample": True, "n": 3},
        {"num_beams": 3},
        {"penalty_alpha": 0.5, "top_k": 3},
        {"guidance_scale": 1.5},
        {"use_cache": False},
    ]
    handles = []
    for i in range(60):
        prompt = [chance.randrange(5, 200) for _ in range(chance.randrange(1, 40))]
        fields = {"ignore_eos": True, "max_new_tokens": chance.randrange(1, 8), **settings[i % len(settings)]}
        handles.append(empty.submit(empty.request(prompt, **fields)))
        if chance.random() < 0.3:
            handles[-1].cancel()
    for handle in handles:
        handle.future.result()
    empty.on_engine(empty.engine.tree.clear).result()
    assert held(empty) == 0
    assert len(empty.engine.backend._free) == empty.engine.backend.context.sequences


def test_forks_share_their_trunk_and_compute_nothing(empty: Any) -> None:
    with empty.branch([5 + i % 200 for i in range(64)]) as trunk:
        trunk.logits()
        one, computed = held(empty), empty.engine.computed_tokens
        forks = [trunk.fork(at=0) for _ in range(16)]
        assert (held(empty), empty.engine.computed_tokens) == (one, computed)
        for i, fork in enumerate(forks):
            fork.extend(5 + i).logits()
        assert empty.engine.computed_tokens == computed + 16
        assert held(empty) == one + 16 * (one // 64)
        for fork in forks:
            fork.free()
        assert held(empty) == one


def test_more_branches_than_llama_cpp_has_sequences_all_go_on(empty: Any) -> None:
    branches = [empty.branch([7, 9, 11]).extend([20 + i % 100, 30 + i // 100]) for i in range(300)]
    before = [branch.logits() for branch in branches]
    for i in (0, 150, 299):
        after = branches[i].fork().extend(40).logits()
        fresh = empty.branch([7, 9, 11, 20 + i % 100, 30 + i // 100, 40])
        torch.testing.assert_close(after, fresh.logits(), atol=2e-4, rtol=0)
        fresh.free()
    torch.testing.assert_close(before[0], branches[0].logits())
    for branch in branches:
        branch.free()


def test_more_rows_than_sequences_and_a_context_that_grows_under_them(load: Any) -> None:
    """230 rows of 20 tokens do not fit into the first context, nor are there sequences for all of them in one call."""
    backend = ramify.load(f"gguf:{gguf_made_here.file('llama')}").engine.backend
    trunk = backend.root()
    first = [5 + i % 200 for i in range(40)]
    backend.extend([Extension(trunk, first)])
    cells = backend.context.cells
    rows = [backend.fork(trunk) for _ in range(230)]
    more = [[(7 * i + j) % 250 + 5 for j in range(20)] for i in range(230)]
    got = backend.extend([Extension(row, ids) for row, ids in zip(rows, more, strict=True)]).logits
    again = backend.extend([Extension(row, [9]) for row in rows]).logits
    assert backend.context.cells > cells
    for i in (0, 100, 229):
        expected = load("llama").branch([*first, *more[i]])
        torch.testing.assert_close(got[i], expected.logits(), atol=2e-4, rtol=0)
        torch.testing.assert_close(again[i], expected.extend(9).logits(), atol=2e-4, rtol=0)
        expected.free()
    for row in (*rows, trunk):
        backend.free(row)
    assert backend.size_bytes() == 0


# --- names and refusals


def test_names_of_a_file_a_stem_and_a_folder_are_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    file = gguf_made_here.file("tiny", "q8_0")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "tiny-q8_0.gguf").symlink_to(file)
    registry = Registry()
    names = [str(file), f"gguf:{file}", f"gguf:{folder}", str(folder), f"gguf:{folder}/tiny-q8_0"]
    assert {registry.gguf(name).path for name in names} == {file.resolve()}  # type: ignore[union-attr]
    registry.add("small", f"gguf:{folder}")
    with ramify.load("small") as model:
        assert (model.info.name, model.info.architecture) == ("small", "llama")
        assert model.complete("Once upon a time", max_new_tokens=4).text
        assert model.info.fingerprint == ramify.models.registry.fingerprint(registry.gguf("small")).id
    with pytest.raises(UnsupportedError, match="cannot be trained"):
        registry.resolve("small")


def test_what_a_gguf_file_cannot_have_is_refused_by_name() -> None:
    name = f"gguf:{gguf_made_here.file('tiny', 'q8_0')}"
    for given, said in (
        ({"precision": "int8"}, r"has its own \(q8_0\)"),
        ({"adapter": "somewhere"}, "takes none; merge an adapter"),
        ({"revision": "main"}, "revision is 'main'"),
        ({"device": "cuda"}, "made for the processor alone"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            ramify.load(name, **given)  # type: ignore[arg-type]


def test_an_unknown_architecture_and_a_model_that_continues_nothing_are_refused(tmp_path: Path) -> None:
    import gguf

    file = tmp_path / "new.gguf"
    writer = gguf.GGUFWriter(str(file), "newest")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"architecture 'newest', which this llama\.cpp does not know"):
        ramify.load(str(file))
