"""The weights behind a resolved folder, as transformers' own model: what the backend runs, training moves, converters write."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ramify.models.loading import ModelFolder

__all__ = ["load_folder", "without_progress_bars"]


def load_folder(folder: ModelFolder, dtype: torch.dtype | str = torch.float32) -> Any:
    """The model of a folder whose safety `loading.resolve` has checked, an adapter of its own merged in.

    dtype: what the weights become; "auto" leaves them as they are stored.
    """
    from transformers import AutoModelForCausalLM

    with without_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype=dtype,
            trust_remote_code=folder.trust_remote_code,
            use_safetensors=None if folder.allow_pickle else True,
            local_files_only=True,
        )
    if folder.adapter is not None:
        import peft

        model = peft.PeftModel.from_pretrained(model, str(folder.adapter)).merge_and_unload()
    return model


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """A library prints nothing that nobody asked for; the setting is put back as it was."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
