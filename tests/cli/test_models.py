"""`ramify models`: names, and what is found behind them."""

import json
import struct
from pathlib import Path

import pytest
from tests import models_made_here
from tests.cli.conftest import Run
from tests.endpoint_made_here import serving
from tests.endpoint_with_a_model import Manners, behaves


@pytest.fixture(scope="module")
def llama() -> str:
    return str(models_made_here.folder("llama"))


def test_a_name_is_added_listed_shown_used_and_removed(ramify: Run, llama: str) -> None:
    assert ramify("models", "add", "mine", llama, "--note", "small").stdout == f"mine is {llama}\n"
    listed = ramify("models", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["tiny", "mine"]
    assert listed[1] == "mine  small"
    assert [entry["name"] for entry in json.loads(ramify("models", "list", "--json").stdout)] == ["tiny", "mine"]
    shown = json.loads(ramify("models", "show", "mine", "--json").stdout)
    assert (shown["target"], shown["folder"], shown["architecture"]) == (llama, llama, "LlamaForCausalLM")
    assert shown["weights"] == ["model.safetensors"]
    assert f"fingerprint    {shown['fingerprint']}" in ramify("models", "show", "mine").stdout
    made = json.loads(ramify("complete", "Once", "-m", "mine", "--max-new-tokens", "2", "--json").stdout)
    assert (made["model"], made["fingerprint"]) == ("mine", shown["fingerprint"])
    assert ramify("models", "remove", "mine").stdout == f"mine is forgotten; {llama} stays\n"
    assert ramify("models", "list", "--json").stdout.count('"name"') == 1


def test_a_remote_model_gets_a_name_with_its_endpoint(ramify: Run) -> None:
    described = ["--base-url", "http://localhost:8000/v1", "--api-key-env", "MY_KEY", "--dialect", "vllm"]
    assert ramify("models", "add", "far", "openai:org/name", *described).stdout == "far is openai:org/name\n"
    shown = json.loads(ramify("models", "show", "far", "--json").stdout)
    endpoint = {"base_url": "http://localhost:8000/v1", "api_key_env": "MY_KEY", "dialect": "vllm", "prefill": None}
    assert (shown["target"], shown["endpoint"]) == ("openai:org/name", endpoint)
    assert "  base_url     http://localhost:8000/v1\n" in ramify("models", "show", "far").stdout
    assert ramify("models", "remove", "far").stdout == "far is forgotten\n"


def test_a_remote_model_is_probed_and_its_card_is_shown(ramify: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-never-shown-never-shown")
    with serving() as server:
        server.always = behaves(Manners(prefill="doubled", top_k="ignored", top=5))
        ramify("models", "add", "far", "openai:small", "--base-url", server.url, "--api-key-env", "MY_KEY")
        assert "card" not in ramify("models", "show", "far").stdout
        probed = ramify("models", "probe", "far")
        assert probed.exit_code == 0, probed.stderr
        asked = len(server.asked)
        shown = ramify("models", "show", "far")
        card = json.loads(ramify("models", "show", "far", "--json").stdout)["card"]
        assert (json.loads(ramify("models", "probe", "far", "--json").stdout)["findings"].keys()) == card["findings"].keys()
    for said in (probed.stdout, shown.stdout):
        lines = [" ".join(line.split()) for line in said.splitlines()]
        assert "a begun answer is continued doubled: it repeats a begun answer before it goes on" in lines
        assert "top_logprobs 5" in lines
        assert any(line.startswith("top_k ignored: it takes top_k 1 and samples as without it") for line in lines)
        assert "sk-never" not in said
    assert (card["findings"]["prefill"]["verdict"], card["top_logprobs"]) == ("doubled", 5)
    assert asked > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "no model is named 'nothing'"),
        (["remove", "tiny"], "'tiny' is built in and cannot be removed"),
        (["add", "tiny", "."], "'tiny' is built in; choose another name"),
        (["add", "two words", "."], "'two words' cannot be a model's name"),
        (["add", "mine", "nowhere"], "there is no folder 'nowhere'"),
        (["probe", "tinny"], "did you mean 'tiny'?"),
        (["probe", "openai:gpt-4o", "--device", "cpu"], "--device is about loading a model, and openai:gpt-4o is remote"),
        (["add", "far", "openai:a", "--base-url", "nowhere"], "base_url is not an address"),
        (["add", "mine", ".", "--dialect", "vllm"], "is not remote and has no endpoint"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_code_2(ramify: Run, arguments: list[str], message: str) -> None:
    result = ramify("models", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_hub_name_is_shown_without_a_download(ramify: Run) -> None:
    assert json.loads(ramify("models", "show", "hf:org/name", "--json").stdout)["target"] == "hf:org/name"


def test_a_probe_says_what_the_model_is_and_that_its_cache_changes_nothing(ramify: Run) -> None:
    folder = models_made_here.folder("qwen2")
    found = json.loads(ramify("models", "probe", str(folder), "--json", "--device", "cpu").stdout)
    speed, load, apart = found.pop("tokens_per_s"), found.pop("load_time_s"), found.pop("largest_difference")
    assert speed > 0
    assert load > 0
    assert apart < 1e-3
    assert len(found.pop("fingerprint")) == 16
    assert found == {
        "name": str(folder),
        "architecture": "Qwen2ForCausalLM",
        "dtype": "float32",
        "device": "cpu",
        "context_window": 256,
        "vocab_size": 320,
        "tokenizer_size": 300,
        "eos_token_ids": [4, 2],
        "bos_token_id": 1,
        "pad_token_id": 0,
        "shares_trunks": True,
        "chat_template": True,
        "left_over": {},
        "cached_equals_uncached": True,
    }


def test_pickled_weights_and_remote_code_are_refused_by_name_of_the_flag(ramify: Run, tmp_path: Path, llama: str) -> None:
    for file in Path(llama).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "own.Model"}}), "utf-8")
    remote = ramify("complete", "a", "-m", str(tmp_path))
    assert remote.exit_code == 2
    assert "--trust-remote-code" in remote.stderr
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    pickled = ramify("complete", "a", "-m", str(tmp_path))
    assert pickled.exit_code == 2
    assert "--allow-pickle" in pickled.stderr


def test_left_over_values_are_told_and_applied_when_asked_for(ramify: Run, tmp_path: Path, llama: str) -> None:
    for file in Path(llama).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    written = json.loads((tmp_path / "generation_config.json").read_text("utf-8"))
    values = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "cache_implementation": "static"}
    (tmp_path / "generation_config.json").write_text(json.dumps({**written, **values}), "utf-8")
    call = ["complete", "a", "-m", str(tmp_path), "--max-new-tokens", "2", "--json"]
    plain = ramify(*call)
    assert json.loads(plain.stdout)["config"] == {"max_new_tokens": 2}
    assert "temperature=0.7" in plain.stderr
    assert "--model-defaults applies it" in plain.stderr
    applied = ramify(*call, "--model-defaults", "--top-p", "0.5")
    assert json.loads(applied.stdout)["config"] == {"max_new_tokens": 2, "do_sample": True, "temperature": 0.7, "top_p": 0.5}
    assert "cache_implementation not, as not a setting of decoding here" in applied.stderr


def test_a_broken_llama2c_file_is_refused(ramify: Run, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(struct.pack("7i", 1, 2, 3, 4, 5, 6, 7))
    (tmp_path / "tok.bin").write_bytes(b"")
    result = ramify("models", "convert", str(tmp_path / "model.bin"), str(tmp_path / "tok.bin"), str(tmp_path / "out"))
    assert result.exit_code == 2
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_demo_shows_every_strategy_on_both_prompts(ramify: Run, llama: str) -> None:
    from ramify.cli.demo import STRATEGIES

    result = ramify("demo", "-m", llama, "--max-new-tokens", "4")
    assert result.exit_code == 0
    for words, _ in STRATEGIES:
        assert result.stdout.count(words) == 2
    assert "a tiny hedgehog named Sonic" in result.stdout
    assert "Transfer 100 rubles to Mike" in result.stdout
    assert "Try next:" in result.stdout


def test_a_model_is_written_as_gguf_shown_and_used(ramify: Run, llama: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="no package gguf: pip install 'ramify[gguf]'")
    file = tmp_path / "small.gguf"
    made = ramify("models", "to-gguf", llama, str(file), "--type", "float32", "--name", "small")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.splitlines()[0] == f"made {file} (float32, {file.stat().st_size:,} bytes)"
    assert made.stdout.splitlines()[-1] == f"small is {file}"
    assert ramify("models", "to-gguf", llama, str(file)).exit_code == 2
    shown = json.loads(ramify("models", "show", "small", "--json").stdout)
    assert (shown["target"], shown["architecture"], shown["precision"]) == (f"gguf:{file}", "llama", "float32")
    pytest.importorskip("llama_cpp", reason="no llama.cpp: pip install 'ramify[gguf]' compiles it")
    assert made.stdout.splitlines()[1].startswith("read back: 16 of 16 greedy tokens")
    of_folder = json.loads(ramify("complete", "Once", "-m", llama, "--max-new-tokens", "4", "--json").stdout)
    of_file = json.loads(ramify("complete", "Once", "-m", "small", "--max-new-tokens", "4", "--json").stdout)
    assert of_file["token_ids"] == of_folder["token_ids"]
    assert of_file["fingerprint"] == shown["fingerprint"] != of_folder["fingerprint"]
