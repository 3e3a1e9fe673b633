"""A model as ONNX, for programs that run it without torch: whole sequences in, logits out.

    model.onnx           input_ids, attention_mask (B, T) int64 → logits (B, T, V) float32; B and T are free
    model.onnx.data      its weights, where they are too large for one file

beside the configuration and the tokenizer's files. There is no cache of keys and values: a program that generates reads its text
anew for each token. The export is torch's own (extra `onnx`); Optimum's, which adds a cache, takes no transformers 5. What was
written is read back by ONNX Runtime and must say what the model says, alone, padded and at another length, before the folder gets
its name.
"""

import io
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.errors import InputError, UnsupportedError
from ramify.models.loading import ModelFolder

__all__ = ["OnnxFolder", "convert"]

TOLERANCE = 1e-3
"""How far logits may differ from torch's, relative to the largest one, in float32."""
NAMES = (
    "config.json",
    "generation_config.json",
    "tokenizer",
    "special_tokens_map",
    "added_tokens",
    "vocab",
    "merges",
    "chat_template",
)


@dataclass(frozen=True, kw_only=True)
class OnnxFolder:
    """What was made."""

    path: Path
    size_bytes: int
    largest_difference: float
    """Of a logit from torch's, over the sequences that were compared."""


def convert(folder: ModelFolder, out: str | Path, *, replace: bool = False) -> OnnxFolder:
    """Write a resolved model, an adapter merged in, as an ONNX folder in float32.

    Raises InputError where the folder is taken or a library is missing, UnsupportedError where torch cannot export the model or
    the result says something else; then nothing is left behind.
    """
    out = Path(out)
    if out.exists() and not replace:
        raise InputError(f"{str(out)!r} exists; choose another folder, or --replace it")
    if out.exists() and not (out / "model.onnx").is_file():
        raise InputError(f"{str(out)!r} is no folder of an ONNX model, so it is not replaced; choose another one")
    _needs_libraries()
    from ramify.models.weights import load_folder

    model = load_folder(folder).eval()
    made = out.with_name(f".{out.name}.{os.getpid()}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        _export(model, made / "model.onnx")
        difference = _compared(model, made / "model.onnx")
        _describe(folder, model, made)
        before = out.with_name(f".{out.name}.{os.getpid()}.before")
        if out.exists():
            out.rename(before)
        made.rename(out)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return OnnxFolder(path=out, size_bytes=sum(each.stat().st_size for each in out.iterdir()), largest_difference=difference)


def _needs_libraries() -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(library)
        except ImportError:
            raise InputError(f"ONNX is written with {library}, which is not installed; pip install 'ramify[onnx]'") from None


def _export(model: Any, file: Path) -> None:
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    ids = torch.arange(10).reshape(2, 5) % int(model.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                Logits(), (ids, mask), str(file), dynamo=True, external_data=True, verbose=False,
                input_names=["input_ids", "attention_mask"], output_names=["logits"],
                dynamic_shapes={"input_ids": free, "attention_mask": free},
            )  # fmt: skip
    except Exception as error:  # whatever in the model's own code cannot be traced
        first = str(error).strip().split("\n")[0][:200]
        raise UnsupportedError(f"torch cannot export {type(model).__name__} to ONNX: {type(error).__name__}: {first}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and its libraries' warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _compared(model: Any, file: Path) -> float:
    """The largest difference of a logit from torch's. Raises UnsupportedError where it is too large."""
    import numpy as np
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    size = min(int(model.config.vocab_size), 1000)
    worst = 0.0
    for rows, length in ((1, 1), (1, 23), (3, 11)):
        ids = torch.randint(size, (rows, length), generator=generator)
        mask = torch.ones_like(ids)
        if rows > 1:
            mask[0, length // 2 :] = 0
        with torch.no_grad():
            said = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        (read,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        keep = mask.bool().numpy()
        apart = float(np.abs(said.numpy()[keep] - read[keep]).max())
        if not apart <= TOLERANCE * max(1.0, float(said.abs().max())):
            raise UnsupportedError(
                f"the ONNX form of {type(model).__name__} says something else than the model: a logit differs by {apart:.3g} at "
                f"{rows} rows of {length} tokens; nothing was written"
            )
        worst = max(worst, apart)
    return worst


def _describe(folder: ModelFolder, model: Any, made: Path) -> None:
    model.config.save_pretrained(made)
    for source in (folder.tokenizer_path, folder.path):
        for file in source.iterdir():
            wanted = file.is_file() and file.name.startswith(NAMES) and file.suffix in (".json", ".jinja", ".txt", ".model")
            if wanted and not (made / file.name).exists():
                shutil.copyfile(file, made / file.name)
