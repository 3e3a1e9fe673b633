"""`ramify models`: names of models and what stands behind them."""

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.cli import options, render

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.models.cards import Card
    from ramify.models.registry import Entry

__all__ = ["app", "examine"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Names of models: list, show, add, remove, probe, convert, to-gguf, to-onnx.",
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A name of `ramify models list`, a folder, gguf:PATH, hf:org/name, openai:NAME, anthropic:NAME."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]

PROBE_PROMPT = "Once upon a time"
CHECKED_TOKENS, TIMED_TOKENS = 16, 64
PROBE_TIMEOUT_S = 60.0
"""The longest silence after one of a probe's questions."""


def _echo(text: str) -> None:
    typer.echo(render.shown(text))


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The names known here: built-in ones first, then yours."""
    from ramify.models.registry import Registry

    entries = Registry().list()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], ensure_ascii=False, indent=1))
        return
    widest = max(len(entry.name) for entry in entries)
    for entry in entries:
        _echo(f"{entry.name:<{widest}}  {entry.note or entry.target}" + (f"  + {entry.adapter}" if entry.adapter else ""))


@app.command()
def show(
    name: Name,
    as_json: AsJson = False,
    allow_pickle: options.AllowPickle = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """What stands behind a name: its files, fingerprint and settings, or its endpoint and what a probe found there.

    Nothing is loaded or asked; a hub model is not downloaded.
    """
    from ramify.models.gguf_files import is_gguf
    from ramify.models.registry import Registry

    entry = Registry().show(name)
    found = dataclasses.asdict(entry)
    if is_gguf(entry.target) or (not entry.target.startswith("hf:") and Path(entry.target).expanduser().exists()):
        found |= _folder(entry, allow_pickle, trust_remote_code)
    if entry.endpoint is not None:
        from ramify.models.cards import Cards
        from ramify.settings import Settings

        settings = Settings.load()
        settled = entry.endpoint.settle(settings)
        found["endpoint"] = dataclasses.asdict(settled)
        card = Cards(settings).of(settled, entry.target.split(":", 1)[1])
        found["card"] = None if card is None else dataclasses.asdict(card) if as_json else _told(card)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        _print(found)


def _told(card: "Card") -> dict[str, Any]:
    """A card for a person: its findings one a line, in the order of ASKED."""
    from ramify.models.cards import ASKED

    told = {
        name: value
        for name, value in dataclasses.asdict(card).items()
        if name not in ("findings", "model", "base_url", "dialect")
    }
    found = {ASKED[name]: f"{each.verdict}: {each.because}" for name, each in card.findings.items() if name in ASKED}
    return {**told, "found": found}


def _folder(entry: "Entry", allow_pickle: bool, trust_remote_code: bool) -> dict[str, Any]:
    from ramify.models.registry import Registry, fingerprint

    file = Registry().gguf(entry.name)
    if file is not None:
        hashes = fingerprint(file)
        return {
            "file": str(file.path),
            "architecture": file.architecture,
            "weights": [part.name for part in file.parts],
            "size_bytes": sum(part.stat().st_size for part in file.parts),
            "precision": file.precision,
            "context_window": file.metadata.get(f"{file.architecture}.context_length"),
            "chat_template": "tokenizer.chat_template" in file.metadata,
            "fingerprint": hashes.id,
        }
    folder = Registry().resolve(entry.name, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    hashes = fingerprint(folder)
    return {
        "folder": str(folder.path),
        "architecture": ", ".join(folder.config.get("architectures") or [str(folder.config.get("model_type"))]),
        "weights": [file.name for file in folder.weights],
        "size_bytes": sum(file.stat().st_size for file in folder.weights),
        "pickled": folder.pickled,
        "eos_token_ids": list(folder.eos_token_ids),
        "left_over": dict(folder.left_over),
        "fingerprint": hashes.id,
        "hashes": dataclasses.asdict(hashes),
    }


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One word: letters, digits and . _ @ + -")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A folder in Hugging Face format, gguf:PATH, hf:org/name, openai:NAME or anthropic:NAME."
        ),
    ],
    adapter: options.Adapter = None,
    revision: options.Revision = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="A line for `ramify models list`.")] = "",
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Remote: the endpoint, if not the environment's.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Remote: the environment variable that holds the key.")
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(metavar="SERVER", help="openai:NAME: openai, compatible, vllm, llama.cpp, ollama or openrouter.")
    ] = None,
    prefill: Annotated[
        str | None, typer.Option(metavar="STYLE", help="Remote: continue_final_message or assistant_turn.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Even if the name is taken.")] = False,
) -> None:
    """Give a folder, a GGUF file, a hub model, or a remote model a name."""
    from ramify.models.endpoints import Endpoint
    from ramify.models.registry import Registry

    described = {"base_url": base_url, "api_key_env": api_key_env, "dialect": dialect, "prefill": prefill}
    endpoint = Endpoint(**described) if any(described.values()) else None  # type: ignore[arg-type]
    entry = Registry().add(name, target, adapter=adapter, revision=revision, note=note, endpoint=endpoint, replace=replace)
    _echo(f"{entry.name} is {entry.target}" + (f" with {entry.adapter}" if entry.adapter else ""))


@app.command()
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="A name that was added.")]) -> None:
    """Forget a name. The model's files stay where they are."""
    from ramify.models.registry import Registry

    entry = Registry().remove(name)
    _echo(f"{entry.name} is forgotten" + (f"; {entry.target} stays" if entry.endpoint is None else ""))


@app.command()
def convert(
    model_bin: Annotated[Path, typer.Argument(metavar="MODEL.BIN", help="A llama2.c checkpoint.")],
    tokenizer_bin: Annotated[Path, typer.Argument(metavar="TOKENIZER.BIN", help="Its llama2.c tokenizer.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the Hugging Face folder is made.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Add it under this name, too.")] = None,
) -> None:
    """Turn a llama2.c checkpoint into a folder in Hugging Face format."""
    from ramify.models.convert_llama2c import convert as converted
    from ramify.models.registry import Registry

    made = converted(model_bin, tokenizer_bin, folder)
    _echo(f"made {made}")
    if name is not None:
        Registry().add(name, made)
        _echo(f"{name} is {made}")


@app.command("to-gguf")
def to_gguf(
    name: Annotated[
        str, typer.Argument(metavar="MODEL", help="A local model in Hugging Face format: its name, folder or hub name.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.GGUF", help="What is written.")],
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Of the matrices: float32, float16, bfloat16 or q8_0.")
    ] = "q8_0",
    adapter: options.Adapter = None,
    revision: options.Revision = None,
    add_as: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Add it under this name, too.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Even if the file exists.")] = False,
    allow_pickle: options.AllowPickle = False,
) -> None:
    """Write a model as one GGUF file for llama.cpp: weights (an adapter merged), tokenizer, chat template, EOS ids.

    Llama, Mistral, Qwen2 and Qwen3. Where llama.cpp is installed the file is read back and compared before it gets its name.
    """
    from ramify.models.convert_gguf import convert as converted
    from ramify.models.registry import Registry, fingerprint

    folder = Registry().resolve(name, adapter=adapter, revision=revision, allow_pickle=allow_pickle)
    made = converted(folder, file, type=type_, fingerprint=fingerprint(folder).id, replace=replace)
    _echo(f"made {made.path} ({made.type}, {made.size_bytes:,} bytes)")
    if made.check is None:
        render.note("it was not read back: llama.cpp is not installed (pip install 'ramify[gguf]')")
    else:
        seen = made.check
        _echo(f"read back: {seen.same_greedy} of {seen.tokens} greedy tokens, logprobs within {seen.largest_difference:.2g}")
    if made.splits_like is None:
        render.note("llama.cpp has no name for how this tokenizer splits texts: other programs may split them differently")
    if add_as is not None:
        Registry().add(add_as, made.path)
        _echo(f"{add_as} is {made.path}")


@app.command("to-onnx")
def to_onnx(
    name: Annotated[
        str, typer.Argument(metavar="MODEL", help="A local model in Hugging Face format: its name, folder or hub name.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What is made: model.onnx, configuration, tokenizer.")],
    adapter: options.Adapter = None,
    revision: options.Revision = None,
    replace: Annotated[bool, typer.Option("--replace", help="Even if the folder exists.")] = False,
    allow_pickle: options.AllowPickle = False,
) -> None:
    """Write a model as ONNX in float32: whole sequences in, logits out (an adapter merged, no cache of keys and values).

    It is read back by ONNX Runtime and compared with the model before the folder gets its name.
    """
    from ramify.models.convert_onnx import convert as converted
    from ramify.models.registry import Registry

    found = Registry().resolve(name, adapter=adapter, revision=revision, allow_pickle=allow_pickle)
    made = converted(found, folder, replace=replace)
    _echo(f"made {made.path} ({made.size_bytes:,} bytes)")
    _echo(f"read back: logits within {made.largest_difference:.2g}")


@app.command()
@options.takes_model
def probe(
    name: Name = "tiny",
    as_json: AsJson = False,
    *,
    how: dict[str, Any],
) -> None:
    """Load a model and try it: what it is, how fast it is, and whether its cache changes nothing (exit code 1 if it does).

    A remote model is asked some twenty short questions, and what its endpoint honours, ignores, doubles or refuses is kept as its
    capability card, by which requests are checked from then on.
    """
    from ramify.models.registry import is_remote

    if is_remote(name):
        options.refuse_loading(name, how)
        _probe_remote(name, as_json)
        return
    began = time.perf_counter()
    with options.open_model(name, **how) as model:
        found = examine(model) | {"load_time_s": round(time.perf_counter() - began, 2)}
    found["load_time_s"] = round(found["load_time_s"] - found.pop("trial_time_s"), 2)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        _print(found)
    if not found["cached_equals_uncached"]:
        render.note("cached and uncached decoding differ: do not trust this model's completions here")
        raise typer.Exit(1)


def _probe_remote(name: str, as_json: bool) -> None:
    from ramify.models.remote import connect

    with connect(name, timeout_s=PROBE_TIMEOUT_S) as remote:
        card = remote.probe()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(card), ensure_ascii=False, indent=1))
    else:
        _print({"name": name, "base_url": card.base_url, "dialect": card.dialect, **_told(card)})


def examine(model: "Model") -> dict[str, Any]:
    """What `ramify models probe` says of a loaded model.

    cached_equals_uncached: a short greedy run with and without the cache chose the same tokens, or first differed where the two
    likeliest tokens were nearer to each other than the two runs' measures (a near-tie, as rounding makes them).
    """
    began = time.perf_counter()
    info = model.info
    tokens = min(CHECKED_TOKENS, info.context_window // 4)
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": tokens, "ignore_eos": True}
    cached = model.complete(PROBE_PROMPT, logprobs=1, **settings)
    again = model.complete(PROBE_PROMPT, logprobs=1, use_cache=False, **settings)
    # bfloat16 keeps 8 bits of a logit of 10 or more; float32 has digits to spare.
    same, apart = _compare(cached, again, tolerance=1e-2 if info.dtype == "float32" else 0.5)
    timed = min(TIMED_TOKENS, info.context_window // 2)
    start = time.perf_counter()
    model.complete(PROBE_PROMPT, logprobs=None, do_sample=False, max_new_tokens=timed, ignore_eos=True)
    speed = timed / (time.perf_counter() - start)
    return {
        "name": info.name,
        "fingerprint": info.fingerprint,
        "architecture": info.architecture,
        "dtype": info.dtype,
        "device": info.device,
        "context_window": info.context_window,
        "vocab_size": info.vocab_size,
        "tokenizer_size": info.tokenizer_size,
        "eos_token_ids": list(info.eos_token_ids),
        "bos_token_id": info.bos_token_id,
        "pad_token_id": info.pad_token_id,
        "shares_trunks": info.shares_trunks,
        "chat_template": model.chat is not None,
        "left_over": dict(info.left_over),
        "cached_equals_uncached": same,
        "largest_difference": apart,
        "tokens_per_s": round(speed, 1),
        "trial_time_s": time.perf_counter() - began,
    }


def _compare(one: Any, other: Any, *, tolerance: float) -> tuple[bool, float]:
    """Whether two greedy runs agree, and the largest difference of their chosen tokens' logprobs up to where they part."""
    apart = 0.0
    for mine, its in zip(one.logprobs, other.logprobs, strict=True):
        if mine.token_id != its.token_id:
            return abs(mine.logprob - its.logprob) <= max(apart, 1e-4), apart
        apart = max(apart, abs(mine.logprob - its.logprob))
    return apart <= tolerance, apart


def _print(found: dict[str, Any], indent: str = "") -> None:
    widest = max(len(name) for name in found)
    for name, value in found.items():
        if value is None or value in ("", [], {}):
            continue
        if isinstance(value, dict):
            _echo(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            listed = (
                ", ".join(map(str, text)) if isinstance(text, list) else f"{text:.3g}" if name == "largest_difference" else text
            )
            _echo(f"{indent}{name:<{widest}}  {listed}")
