"""`ramify train`: tokenizer, pretrain, sft."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Train a tokenizer, a model from scratch, or a model on prompt → completion pairs.",
    no_args_is_help=True,
    add_completion=False,
)

Rows = Annotated[list[Path], typer.Option("--rows", help="JSON Lines file; may be repeated.")]
Held = Annotated[list[Path] | None, typer.Option("--validation", help="JSON Lines file of rows to measure; may be repeated.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the result, its checkpoint and log.jsonl.")]
Seconds = Annotated[float | None, typer.Option(help="Train for this long; the schedule is laid over it.")]
Steps = Annotated[int | None, typer.Option(help="Train for this many steps.")]
Tokens = Annotated[int, typer.Option(help="Tokens a step, padding included.")]
Rate = Annotated[float, typer.Option(help="AdamW's learning rate, for embeddings and norms.")]
MatrixRate = Annotated[float, typer.Option(help="Muon's learning rate, for the hidden layers' matrices.")]
Schedule = Annotated[Literal["constant", "linear"], typer.Option(help="constant, or linear: down to 0 at the end.")]
Length = Annotated[int, typer.Option(help="Longest row in tokens.")]
Seed = Annotated[int, typer.Option(help="Seed of the weights and of the order of rows.")]
Bf16 = Annotated[bool, typer.Option(help="Compute in bfloat16; weights stay in float32.")]
Compile = Annotated[bool, typer.Option(help="Compile the model first; needs a C++ compiler on a CPU.")]


def _stop(message: object) -> typer.Exit:
    typer.echo(f"ramify train: {message}", err=True)
    return typer.Exit(2)


def _line(line: dict[str, Any]) -> None:
    typer.echo("  ".join(f"{key} {value}" for key, value in line.items()))


@app.command()
def tokenizer(rows: Rows, out: Out, vocab_size: Annotated[int, typer.Option(help="Tokens in the vocabulary.")] = 4096) -> None:
    """Learn a byte-fallback BPE vocabulary from the texts of the rows and save it as a Hugging Face folder."""
    from ramify.errors import InputError
    from ramify.training.rows import read_rows, texts_of
    from ramify.training.tokenizers import save_tokenizer, train_tokenizer

    try:
        texts = (text for path in rows for row in read_rows(path) for text in texts_of(row))
        trained = train_tokenizer(texts, vocab_size)
    except InputError as error:
        raise _stop(error) from error
    save_tokenizer(trained, out)
    typer.echo(f"{trained.get_vocab_size()} tokens in {out}")


@app.command()
def pretrain(
    rows: Rows,
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer.")],
    out: Out,
    validation: Held = None,
    hidden_size: int = 256,
    layers: int = 6,
    heads: int = 4,
    kv_heads: int = 2,
    intermediate_size: int = 768,
    max_seconds: Seconds = None,
    max_steps: Steps = None,
    tokens_per_step: Tokens = 8192,
    learning_rate: Rate = 3e-3,
    matrix_learning_rate: MatrixRate = 6e-3,
    schedule: Schedule = "linear",
    max_length: Length = 512,
    seed: Seed = 0,
    bf16: Bf16 = False,
    compile: Compile = False,
) -> None:
    """Train a new Llama on whole texts; longer ones are cut into windows. Goes on from the checkpoint in the folder."""
    from ramify.errors import InputError
    from ramify.training.rows import read_documents
    from ramify.training.tokenizers import load_tokenizer
    from ramify.training.trainers import TrainConfig, new_model, train

    try:
        config = TrainConfig(
            max_steps=max_steps, max_seconds=max_seconds, tokens_per_step=tokens_per_step, learning_rate=learning_rate,
            matrix_learning_rate=matrix_learning_rate, schedule=schedule, max_length=max_length, seed=seed,
            bf16=bf16, compile=compile,
        )  # fmt: skip
        words = load_tokenizer(tokenizer)
        examples = [example for path in rows for example in read_documents(path, words, max_length=max_length)]
        held = {path.stem: read_documents(path, words, max_length=max_length) for path in validation or []}
        model = new_model(
            vocab_size=words.get_vocab_size(), hidden_size=hidden_size, layers=layers, heads=heads, kv_heads=kv_heads,
            intermediate_size=intermediate_size, seed=seed,
        )  # fmt: skip
        _fast_attention(model, config.compile)
        train(model, examples, config, out, validation=held, report=_line)
    except InputError as error:
        raise _stop(error) from error
    _finish(model, tokenizer, out)


@app.command()
def sft(
    rows: Rows,
    model: Annotated[Path, typer.Option(help="Folder of the model to start from, with its tokenizer.")],
    out: Out,
    validation: Held = None,
    max_seconds: Seconds = None,
    max_steps: Steps = None,
    tokens_per_step: Tokens = 8192,
    learning_rate: Rate = 1e-3,
    matrix_learning_rate: MatrixRate = 2e-3,
    schedule: Schedule = "linear",
    max_length: Length = 2048,
    seed: Seed = 0,
    bf16: Bf16 = False,
    compile: Compile = False,
) -> None:
    """Train a model on conversations or prompt → completion rows; only completions and their EOS are learned."""
    from ramify.errors import InputError
    from ramify.training.rows import read_examples
    from ramify.training.tokenizers import load_tokenizer
    from ramify.training.trainers import TrainConfig, load_model, train

    try:
        config = TrainConfig(
            max_steps=max_steps, max_seconds=max_seconds, tokens_per_step=tokens_per_step, learning_rate=learning_rate,
            matrix_learning_rate=matrix_learning_rate, schedule=schedule, max_length=max_length, seed=seed,
            bf16=bf16, compile=compile,
        )  # fmt: skip
        words = load_tokenizer(model)
        examples = [example for path in rows for example in read_examples(path, words)]
        held = {path.stem: read_examples(path, words) for path in validation or []}
        tuned = load_model(model)
        _fast_attention(tuned, config.compile)
        train(tuned, examples, config, out, validation=held, report=_line)
    except InputError as error:
        raise _stop(error) from error
    _finish(tuned, model, out)


def _fast_attention(model: Any, compiled: bool) -> None:
    """The plain attention pays when compiled, on a CPU."""
    from ramify.training.attention import register

    if compiled and next(model.parameters()).device.type == "cpu":
        model.set_attn_implementation(register())


def _finish(model: Any, tokenizer: Path, out: Path) -> None:
    """The result as a Hugging Face folder in bfloat16, beside the checkpoint in float32."""
    import shutil

    from ramify.training.trainers import save_model

    save_model(model, out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if tokenizer.resolve() != out.resolve():
            shutil.copyfile(tokenizer / name, out / name)
    typer.echo(f"saved in {out}")
