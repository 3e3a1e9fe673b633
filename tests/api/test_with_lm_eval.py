"""lm-evaluation-harness, unmodified: `local-completions` on a live server measures what `hf` measures on the same weights."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.api.listening import Live

from ramify.models.registry import Registry

FOLDER = Registry().show("tiny").target
NATS = 2e-3
"""How far two log-likelihoods of one text may be apart."""

CHOICES = [
    {"question": "Once upon a time there was a little", "choices": [" girl", " dog", " stone house", " xylophone"], "label": 0},
    {"question": "The cat sat on the", "choices": [" mat", " moon and sang a song.", " tree"], "label": 0},
    {"question": "Tom was sad because he lost his", "choices": [" ball", " toy. He cried.", " é🙂"], "label": 1},
    {"question": 'Lily said: "I want to', "choices": [' play!"', ' go home."'], "label": 0},
    {"question": "a " * 200 + "b", "choices": [" a", " b"], "label": 1},
    {"question": "", "choices": ["Once", " upon"], "label": 0},
]
TASKS = {
    "choosing": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{label}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    },
    "telling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}{{choices[0]}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    },
    "writing": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}} ",
        "doc_to_target": "x",
        "generation_kwargs": {"until": [".", "\n"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def measure(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`measure(model, arguments, batch_size)` gives each task's answers, one a request, in order."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    folder: Path = tmp_path_factory.mktemp("tasks")
    documents = folder / "documents.jsonl"
    documents.write_text("".join(json.dumps(document) + "\n" for document in CHOICES))
    for name, task in TASKS.items():
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(documents)}}, "test_split": "test"}
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **source, **task}))
    manager = TaskManager(include_path=str(folder), include_defaults=False)

    def measured(model: str, arguments: str, batch_size: int) -> dict[str, list[Any]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", live.token)
            patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
            found = lm_eval.simple_evaluate(
                model=model,
                model_args=arguments,
                tasks=list(TASKS),
                batch_size=batch_size,
                task_manager=manager,
                log_samples=True,
                bootstrap_iters=0,
                verbosity="ERROR",
            )
        return {
            name: [answer for sample in sorted(samples, key=lambda s: s["doc_id"]) for (answer,) in sample["resps"]]
            for name, samples in found["samples"].items()
        }

    return cache(measured)


# Left to itself, `hf` puts the BOS before a text as the tokenizer says, and `local-completions` never does.
BOS = "add_bos_token=True"


def agree(live: Live, measure: Callable[..., Any], batch_size: int, concurrent: int) -> None:
    server = f"model=tiny,base_url={live.url}/v1/completions,tokenizer_backend=huggingface,tokenizer={FOLDER}"
    ours = measure("local-completions", f"{server},num_concurrent={concurrent},max_retries=1,{BOS}", batch_size)
    theirs = measure("hf", f"pretrained={FOLDER},dtype=float32,device=cpu,{BOS}", 1)
    for (our_logprob, our_greedy), (their_logprob, their_greedy) in zip(ours["choosing"], theirs["choosing"], strict=True):
        assert our_logprob == pytest.approx(their_logprob, abs=NATS)
        assert our_greedy == their_greedy
    assert len(ours["choosing"]) == sum(len(document["choices"]) for document in CHOICES)
    assert ours["telling"] == pytest.approx(theirs["telling"], abs=NATS)
    assert ours["writing"] == theirs["writing"]


def test_log_likelihoods_equal_those_of_the_same_weights(live: Live, measure: Callable[..., Any]) -> None:
    agree(live, measure, batch_size=8, concurrent=8)


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "concurrent"), [(1, 1), (8, 1), (1, 8)])
def test_they_do_so_for_every_batch_and_concurrency(
    live: Live, measure: Callable[..., Any], batch_size: int, concurrent: int
) -> None:
    agree(live, measure, batch_size, concurrent)
