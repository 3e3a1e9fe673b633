"""Every code block of document 003, with the package's and the model's names changed and nothing else."""

import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.inference.conftest import Typed, blocks_of
from typer.testing import CliRunner

import ramify
from ramify.cli.main import app
from ramify.inference import GenerationConfig
from ramify.inference.models import opened

Names = dict[str, Any]

TYPED: dict[str, tuple[str, ...]] = {
    "Python API Generation": ("hello", "/quit"),
    "3. Interactive Generation": ("hello", "/quit", "one", "two", "quit"),
    "1. Chat Interface": ("hello", "/quit", "one", "two", "quit"),
}
"""What is typed while a block runs."""


def changed(code: str, folder: Path) -> str:
    """The block with the names of this package and of a model that is here."""
    for old, new in (
        ("import llmbuilder as lb", "import ramify as lb"),
        ("llmbuilder", "ramify"),
        ("./model/model.pt", str(folder / "model.safetensors")),
        ("./tokenizer", str(folder)),
    ):
        code = code.replace(old, new)
    return code


@pytest.fixture
def run(folder: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Names]:
    """`run(heading)`: execute the block under that heading, after what the document has imported and made by then.

    The document gives no seed, and a model so small ends one in ten of its texts at once: so the seeds drawn are always the same.
    """
    import torch

    monkeypatch.setattr("secrets.randbits", random.Random(3).getrandbits)

    blocks = {name.removesuffix(" (python)"): code for name, code in blocks_of("003.md") if name.endswith("(python)")}

    def execute(heading: str) -> Names:
        names: Names = {"lb": ramify, "GenerationConfig": GenerationConfig, "torch": torch, "prompt": "Explain it:"}
        names["response"] = "Once there was a hedgehog. The hedgehog was small."
        typed(*TYPED.get(heading, ()))
        exec(compile(changed(blocks[heading], folder), heading, "exec"), names)
        return names

    return execute


def alone(folder: Path, prompt: str, **settings: Any) -> str:
    """What the engine itself completes."""
    return opened(folder).complete(prompt, **settings).generated_text


def is_completion(text: Any, prompt: str) -> bool:
    return isinstance(text, str) and text != "" and not text.startswith(prompt) and "</s>" not in text


def test_every_block_of_the_document_is_run_here() -> None:
    here = Path(__file__).read_text("utf-8")
    names = [name for name, _ in blocks_of("003.md") if not name.endswith("(mermaid)")]
    here += '"CLI Generation"'  # the commands, at the end
    assert len(names) == 26
    assert [name for name in names if f'"{name.rpartition(" (")[0]}"' not in here] == []


def test_the_quick_start_completes_and_chats(run: Callable[[str], Names], capsys: pytest.CaptureFixture[str]) -> None:
    names = run("Python API Generation")
    assert is_completion(names["text"], "The future of AI is")
    said = capsys.readouterr().out
    assert said.startswith(names["text"] + "\n")
    assert len(said) > len(names["text"]) + 1  # the chat answered "hello"


def test_the_core_parameters_are_a_config(run: Callable[[str], Names]) -> None:
    config = run("Core Parameters")["config"]
    assert config.to_dict() == {
        "max_new_tokens": 100, "min_new_tokens": 10, "max_length": 1024, "temperature": 0.8, "top_k": 50, "top_p": 0.9,
        "repetition_penalty": 1.1, "pad_token_id": 0, "eos_token_id": [2], "bos_token_id": 1, "do_sample": True,
        "early_stopping": True,
    }  # fmt: skip
    assert config.order == ("repetition_penalty", "min_new_tokens", "temperature", "top_k", "top_p")


def test_the_advanced_parameters_are_a_config(run: Callable[[str], Names]) -> None:
    config = run("Advanced Parameters")["config"]
    assert config.stop_strings == ("</s>", "\n\n")
    assert config.order == ("repetition_penalty", "no_repeat_ngram_size", "typical_p", "epsilon_cutoff", "eta_cutoff")


def test_greedy_decoding_is_deterministic(run: Callable[[str], Names], folder: Path) -> None:
    text = run("1. Greedy Decoding")["text"]
    assert text == run("1. Greedy Decoding")["text"] == alone(folder, "Machine learning is", do_sample=False)


def test_the_three_temperatures_are_three_configs(run: Callable[[str], Names]) -> None:
    names = run("2. Temperature Sampling")
    bands = ("conservative", "balanced", "creative")
    assert [names[f"{band}_config"] for band in bands] == [GenerationConfig.preset(band) for band in bands]


@pytest.mark.parametrize(
    ("heading", "order"),
    [
        ("3. Top-k Sampling", ("temperature", "top_k")),
        ("4. Top-p (Nucleus) Sampling", ("temperature", "top_p")),
        ("5. Combined Sampling", ("repetition_penalty", "temperature", "top_k", "top_p")),
        ("Repetitive Output", ("repetition_penalty", "no_repeat_ngram_size", "temperature", "top_p")),
        ("Incoherent Output", ("temperature", "top_k", "top_p")),
        ("Too Conservative Output", ("repetition_penalty", "top_k", "top_p")),
    ],
)
def test_sampling_and_troubleshooting_configs_act(
    run: Callable[[str], Names], folder: Path, heading: str, order: tuple[str, ...]
) -> None:
    config = run(heading)["config"]
    assert config.order == order
    assert config.strategy == "sampling"
    given = config.replace(max_new_tokens=12, ignore_eos=True)
    texts = {alone(folder, "Once", config=given, seed=seed) for seed in range(4)}
    assert len(texts) > 1


def test_slow_generation_is_greedy_and_cached(run: Callable[[str], Names]) -> None:
    names = run("Slow Generation")
    assert names["config"] == GenerationConfig.preset("faster")
    assert names["device"] in ("cpu", "cuda")


def test_a_single_generation_is_the_completion_alone(run: Callable[[str], Names]) -> None:
    assert is_completion(run("1. Single Generation")["response"], "Explain quantum computing in simple terms:")


def test_a_batch_answers_every_prompt_in_its_order(run: Callable[[str], Names], capsys: pytest.CaptureFixture[str]) -> None:
    names = run("2. Batch Generation")
    assert len(names["responses"]) == len(names["prompts"]) == 3
    said = capsys.readouterr().out
    assert [
        f"Prompt: {prompt}\nResponse: {text}\n" in said for prompt, text in zip(names["prompts"], names["responses"], strict=True)
    ] == [True] * 3


def test_an_interactive_session_remembers(run: Callable[[str], Names], capsys: pytest.CaptureFixture[str]) -> None:
    generator = run("3. Interactive Generation")["generator"]
    assert [user for user, _ in generator.conversation.exchanges] == ["hello", "one", "two"]
    assert capsys.readouterr().out.count("AI: ") == 2


def test_a_stream_prints_as_it_goes(run: Callable[[str], Names], capsys: pytest.CaptureFixture[str]) -> None:
    last = run("4. Streaming Generation")["token"]
    assert capsys.readouterr().out.endswith(last)


def test_prompt_engineering_and_few_shot_return_completions(run: Callable[[str], Names]) -> None:
    names = run("1. Prompt Engineering")
    assert is_completion(names["response"], names["full_prompt"])
    names = run("2. Few-shot Learning")
    assert is_completion(names["response"], names["few_shot_prompt"])


def test_constrained_generation_holds_every_word(run: Callable[[str], Names]) -> None:
    text = run("3. Constrained Generation")["response"].lower()
    assert [word in text for word in ("machine learning", "neural networks", "data", "impossible", "never")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_the_stop_string_is_left_out_so_that_the_brace_can_be_added(run: Callable[[str], Names]) -> None:
    names = run("4. Format-Specific Generation")
    assert "}" not in names["response"]
    assert names["complete_json"] == names["response"] + "}"


def test_the_json_example_through_a_constraint_is_json_and_not_hope(folder: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    text = ramify.generate_text(folder, prompt="A data scientist as JSON:", json_schema=schema, temperature=0.3, seed=1)
    assert set(json.loads(text)) == {"name", "age"}


def test_filtering_says_what_and_why(run: Callable[[str], Names]) -> None:
    found = run("1. Output Filtering")["filtered_response"]
    assert (str(found), found.passed, found.reasons) == ("Once there was a hedgehog. The hedgehog was small.", True, ())
    assert list(found.checked) == ["min_length", "max_repetition", "profanity_filter", "coherence_threshold", "factuality_check"]


def test_quality_metrics_are_printed_with_three_digits(run: Callable[[str], Names], capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run("2. Quality Metrics")["metrics"]
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["Coherence", "Fluency", "Relevance", "Diversity", "Repetition"]
    assert lines == {name: f"{getattr(metrics, name.lower()):.3f}" for name in lines}
    assert all(0 <= float(value) <= 1 for value in lines.values())
    assert metrics.model == "tiny"


def test_the_comparison_has_a_line_a_config(run: Callable[[str], Names], capsys: pytest.CaptureFixture[str]) -> None:
    results = run("3. A/B Testing")["results"]
    assert len(results) == 3
    assert [len(result.samples) for result in results] == [10, 10, 10]
    assert capsys.readouterr().out.splitlines() == [
        f"Config {i}: Quality={result.avg_quality:.3f}, Diversity={result.avg_diversity:.3f}"
        for i, result in enumerate(results, 1)
    ]


def test_a_chat_keeps_the_callers_history_apart_from_its_own(run: Callable[[str], Names]) -> None:
    names = run("1. Chat Interface")
    assert [entry["user"] for entry in names["conversation"]] == ["one", "two"]
    assert [user for user, _ in names["chat"].conversation.exchanges] == ["hello"]


def test_the_writer_writes(run: Callable[[str], Names]) -> None:
    names = run("2. Creative Writing Assistant")
    assert 0 < len(names["continuation"].split()) <= 300
    assert names["character"].strip()
    assert [line.partition(":")[0] for line in names["dialogue"].splitlines()] == ["A", "B", "A", "B", "A", "B"]


def test_the_commands_run(folder: Path, tmp_path: Path) -> None:
    code = dict(blocks_of("003.md"))["CLI Generation (bash)"]
    commands = [line for line in changed(code, folder).replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert [command.split()[0] for command in commands] == ["ramify"] * 3
    kept = tmp_path / "chat.json"
    typed = (f"{folder}\n\n20\n0.8\n0\n1.0\n\n", None, f"hello\n/save {kept}\n/quit\n")
    results = [
        CliRunner().invoke(app, shlex.split(command)[1:], input=stdin, prog_name="ramify")
        for command, stdin in zip(commands, typed, strict=True)
    ]
    assert [result.exit_code for result in results] == [0, 0, 0], [result.output for result in results]
    assert "kept in " in results[0].stdout
    assert " tokens]" in results[1].output
    said = json.loads(kept.read_text(encoding="utf-8"))["messages"]  # what a random model answers may be blank
    assert (said[-2]["role"], said[-2]["content"]) == ("user", "hello")
    assert said[-1]["role"] == "assistant"
