"""llama.cpp's side of a GGUF model: one context whose cells hold the keys and values of many sequences.

Cells are shared by all sequences (a fork marks cells as its own, too, and copies nothing); a call computes tokens of many
sequences at once. A context that is full is replaced by a larger one with the same cells.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.errors import EngineError, InputError, UnsupportedError
from ramify.models.gguf_files import GGUFFile

__all__ = ["Context", "Part", "library"]

FIRST_CELLS = 4096
BATCH_TOKENS = 512
"""Tokens of one call."""
OUTPUTS = 256
"""Positions of one call whose logits are asked for: at V = 151,936 they take 156 MB; llama.cpp wants room for one a sequence."""
SEQUENCES, STATES = 256, 32
"""What llama.cpp can tell apart, and how many states a recurrent model keeps, where each takes its whole memory."""

Floats = npt.NDArray[np.float32]

_said: deque[str] = deque(maxlen=8)
"""What llama.cpp last complained of: it tells reasons in its log alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of one sequence, and how many of the last ones' logits are wanted."""

    sequence: int
    start: int
    """The position of the first of them."""
    token_ids: Sequence[int]
    wanted: int


def library() -> Any:
    """The module of llama-cpp-python. Raises UnsupportedError, saying what to install, where it is missing."""
    try:
        import llama_cpp
    except ImportError as error:
        raise UnsupportedError(
            "GGUF files run through llama.cpp, which is not installed here; `pip install 'ramify[gguf]'` compiles it (some "
            f"minutes, with a C++ compiler), or give a folder in Hugging Face format ({error})"
        ) from error
    except (OSError, RuntimeError, FileNotFoundError) as error:
        raise UnsupportedError(f"llama.cpp is installed and does not load here: {error}; install 'ramify[gguf]' anew") from error
    _listen(llama_cpp)
    return llama_cpp


def _listen(llama_cpp: Any) -> None:
    if not hasattr(llama_cpp, "_ramify_listens"):

        @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
        def listen(level: int, text: bytes, _: Any) -> None:
            if level == 4:  # an error
                _said.append(text.decode("utf-8", "replace").strip())

        llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        llama_cpp._ramify_listens = listen  # must outlive every call


class Context:
    """A loaded model and its cells. One thread uses it."""

    def __init__(self, file: GGUFFile, *, threads: int, gpu: bool = False) -> None:
        """Raises InputError where llama.cpp refuses the file, and says why; UnsupportedError for what does not continue text."""
        self._lib = lib = library()
        self._threads, self._exact = threads, file.float32_only
        given = lib.llama_model_default_params()
        given.n_gpu_layers = -1 if gpu else 0
        _said.clear()
        self.model = lib.llama_model_load_from_file(str(file.path).encode(), given)
        if not self.model:
            raise InputError(_refusal(file))
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.vocab_size = int(lib.llama_vocab_n_tokens(self.vocab))
        self.width = int(lib.llama_model_n_embd(self.model))
        self.window = int(lib.llama_model_n_ctx_train(self.model))
        self.recurrent = bool(lib.llama_model_is_recurrent(self.model) or lib.llama_model_is_hybrid(self.model))
        causal = file.metadata.get(f"{file.architecture}.attention.causal", True)
        if lib.llama_model_has_encoder(self.model) or lib.llama_model_is_diffusion(self.model) or not causal:
            self.close()
            raise UnsupportedError(
                f"{file.path.name!r} is a {file.architecture} model, which does not continue text token by token"
            )
        self.sequences = STATES if self.recurrent else SEQUENCES
        # Two sets of frequencies are chosen between by the context's size, so that one must not change.
        whole = any("rope_factors_long" in name for name in file.tensors)
        self.cells = _rounded(self.window if whole else min(self.window, FIRST_CELLS))
        self._context = self._made(self.cells)
        if not self._context:
            self.close()
            raise EngineError(f"llama.cpp made no context for {file.path.name!r}: {_reasons() or 'it gave no reason'}")
        if lib.llama_model_is_recurrent(self.model):
            self.cells = 2**40  # its states have one size, whatever they have read
        self._memory = lib.llama_get_memory(self._context)
        self._embeddings = False
        self._batch = _Batch(lib)

    def _made(self, cells: int) -> Any:
        lib = self._lib
        given = lib.llama_context_default_params()
        given.n_ctx = cells
        given.n_batch = given.n_ubatch = BATCH_TOKENS
        given.n_seq_max = self.sequences
        given.n_outputs_max = OUTPUTS
        given.n_threads = given.n_threads_batch = self._threads
        given.kv_unified = given.swa_full = given.no_perf = True
        if self._exact:  # llama.cpp's flash attention turns float32 keys and values into float16: logits were off by 1e-2
            given.type_k = given.type_v = 0  # float32
            given.flash_attn_type = 0  # off
        return lib.llama_init_from_model(self.model, given)

    def set_threads(self, threads: int) -> None:
        self._threads = threads
        self._lib.llama_set_n_threads(self._context, threads, threads)

    # Sequences.

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target`, which is empty, hold the first `length` tokens of `source`, too."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def drop(self, sequence: int, start: int = 0) -> bool:
        """Forget a sequence's tokens from `start` on. False where a recurrent state cannot go back."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, start, -1))

    def sequence_bytes(self, sequence: int) -> int:
        """What a sequence takes, by llama.cpp's own count."""
        return int(self._lib.llama_state_seq_get_size(self._context, sequence))

    def grow(self, cells: int) -> bool:
        """Make room for `cells` tokens in all, those that are held among them. False where the memory does not reach."""
        lib = self._lib
        size = int(lib.llama_state_get_size(self._context))
        state = np.empty(size, np.uint8)
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written = int(lib.llama_state_get_data(self._context, pointer, size))
        larger = self._made(_rounded(cells))
        if not larger:
            return False
        lib.llama_free(self._context)
        self._context, self.cells, self._embeddings = larger, _rounded(cells), False
        self._memory = lib.llama_get_memory(larger)
        if int(lib.llama_state_set_data(larger, pointer, written)) != written:
            raise EngineError(f"llama.cpp did not take its own keys and values into a larger context: {_reasons()}")
        return True

    # The forward pass.

    def decode(self, parts: Sequence[Part], *, hidden: bool = False) -> tuple[Floats, Floats | None]:
        """Compute at most BATCH_TOKENS tokens, of which at most OUTPUTS are wanted (all of them, with hidden).

        Returns views that the next call overwrites: the logits (N, V), N the wanted positions in order, and with hidden
        the last hidden states (T, D) of all tokens, else None. Raises EngineError; tokens may then be half there.
        """
        lib = self._lib
        count, outputs = self._batch.fill(parts, everything=hidden)
        if hidden != self._embeddings:
            lib.llama_set_embeddings(self._context, hidden)
            self._embeddings = hidden
        _said.clear()
        failed = lib.llama_decode(self._context, self._batch.batch)
        if failed:
            raise EngineError(f"llama.cpp answered {failed} to {count} tokens: {_reasons() or 'it gave no reason'}")
        if not len(outputs):
            return np.empty((0, self.vocab_size), np.float32), None
        made = count if hidden else len(outputs)
        pointer = lib.llama_get_logits(self._context)
        logits = np.ctypeslib.as_array(pointer, shape=(made, self.vocab_size))
        if not hidden:
            return logits, None
        states = np.ctypeslib.as_array(lib.llama_get_embeddings(self._context), shape=(made, self.width))
        return logits[outputs], states

    def close(self) -> None:
        """Give everything back."""
        if getattr(self, "_context", None):
            self._lib.llama_free(self._context)
            self._context = None
        if getattr(self, "model", None):
            self._lib.llama_model_free(self.model)
            self.model = None

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():  # at its end the process gives all back itself, and a call may still be under way
            self.close()


class _Batch:
    """llama.cpp's batch over numpy's memory: filled by whole arrays, not token by token."""

    def __init__(self, lib: Any) -> None:
        size = BATCH_TOKENS
        self._tokens, self._positions = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._sequences, self._counts = np.zeros(size, np.int32), np.ones(size, np.int32)
        self._outputs = np.zeros(size, np.int8)
        self._pointers = (self._sequences.ctypes.data + 4 * np.arange(size, dtype=np.uint64)).astype(np.uint64)

        def pointer(array: npt.NDArray[Any], kind: Any) -> Any:
            return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))

        self.batch = lib.llama_batch(
            n_tokens=0,
            token=pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=pointer(self._positions, ctypes.c_int32),
            n_seq_id=pointer(self._counts, ctypes.c_int32),
            seq_id=pointer(self._pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, parts: Sequence[Part], *, everything: bool) -> tuple[int, npt.NDArray[np.int64]]:
        """Returns how many tokens there are, and which of them are wanted."""
        at = 0
        self._outputs[:] = 0
        for part in parts:
            end = at + len(part.token_ids)
            assert end <= BATCH_TOKENS, "more tokens than a call takes"
            self._tokens[at:end] = part.token_ids
            self._positions[at:end] = np.arange(part.start, part.start + end - at)
            self._sequences[at:end] = part.sequence
            self._outputs[end - part.wanted : end] = 1
            at = end
        wanted = np.flatnonzero(self._outputs)
        if everything:
            self._outputs[:at] = 1
        self.batch.n_tokens = at
        return at, wanted


def _rounded(cells: int) -> int:
    return -(-cells // 256) * 256


def _reasons() -> str:
    return "; ".join(dict.fromkeys(_said))


def _refusal(file: GGUFFile) -> str:
    why = _reasons()
    if "unknown model architecture" in why:
        return (
            f"{file.path.name!r} has the architecture {file.architecture!r}, which this llama.cpp does not know; install a newer "
            "llama-cpp-python, or give the model as a folder in Hugging Face format"
        )
    return f"llama.cpp does not load {file.path.name!r} ({file.architecture}): {why or 'it gave no reason'}; convert it again"
