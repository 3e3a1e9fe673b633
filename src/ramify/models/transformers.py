"""The transformers backend: every causal language model of that library, decoding branches over our tree of keys and values.

Architectures whose attention goes through the library's public `AttentionInterface` share trunks. The others (state-space models,
attention biases computed from the mask) keep one library cache a branch: right, slower, and `ModelInfo.shares_trunks` says so.
Which way a model goes is decided by trying: at load, a few tokens are decoded both ways and must agree.
"""

import contextlib
import copy
import inspect
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ramify.errors import InputError, UnsupportedError
from ramify.models import attention, huge_pages, kernels
from ramify.models import threads as processor
from ramify.models.base import Extension, ModelInfo, Outputs, Trunk
from ramify.models.kv_cache import KVBranch, KVCache
from ramify.models.lean import LeanDecoder
from ramify.models.loading import ModelFolder
from ramify.models.tokenizer import Tokenizer
from ramify.models.weights import load_folder

__all__ = ["PRECISIONS", "TransformersBackend"]

PRECISIONS = ("float32", "bfloat16", "float16", "int8")

COARSE = 0.25
"""Of the logits' spread: how far two ways of computing the same may lie apart in int8 (0.09 for Qwen2-0.5B's shape)."""

TRIED_ERRORS = (TypeError, AttributeError, ValueError, RuntimeError, LookupError, AssertionError)
"""What trying a way that is not the model's may raise."""


@dataclass(slots=True, eq=False)
class PlainBranch:
    """A branch of a model that cannot share: its own ids, and the library's cache of the first `computed` of them."""

    ids: list[int] = field(default_factory=list)
    cache: Any = None
    computed: int = 0
    shared: bool = False
    """Whether another branch holds the same cache object, which must then be copied before it grows."""

    @property
    def length(self) -> int:
        return len(self.ids)


class TransformersBackend:
    """A causal language model of the transformers library."""

    def __init__(
        self, model: nn.Module, codec: Tokenizer, info: ModelInfo, *, share: bool = True, threads: int | None = None
    ) -> None:
        """`share=False` asks for one cache a branch, whatever the architecture can do."""
        self.threads = threads
        self._alone = torch.get_num_threads() == 1
        self.model: Any = model.eval().requires_grad_(False)
        """None where `LeanDecoder` has taken its weights over."""
        self.codec = codec
        self._device = next(model.parameters()).device
        self._missing = _ids_without_a_token(codec, info.vocab_size).to(self._device)
        self._missing_ids = torch.nonzero(self._missing).flatten()
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        self._keeps_logits = "logits_to_keep" in self._takes
        self._tolerance = 1e-3 if info.dtype == "float32" else 0.1
        self._rounds = info.dtype == "int8"
        self._cache = KVCache(int(_text_config(model).num_hidden_layers) if share else 0)
        self._lean: LeanDecoder | None = None
        self._shares = share and self._tree_agrees()
        self._piece = 0
        """Plain branches: tokens a call may add to a cache: any number (0), one, or none at all (-1: no cache is kept)."""
        if not self._shares:
            self._use_library_attention()
            self._piece = self._trusted_piece()
        self.info = replace(info, shares_trunks=self._shares)

    @classmethod
    def load(
        cls,
        folder: ModelFolder,
        *,
        name: str,
        fingerprint: str,
        device: str | None = None,
        precision: str | None = None,
        choose_threads: bool = False,
    ) -> "TransformersBackend":
        """Load a resolved folder (its safety was checked by `loading.resolve`).

        precision: "float32" (the default), "bfloat16", "float16" or "int8" (weights and inputs of linear layers, on a processor
        only; everything else in float32). In all but the first a row's near-ties may depend on its company:
        `ModelInfo.batch_invariant` says so, and they are never chosen unasked. choose_threads: a small model has one thread.
        Raises InputError where float32 was not asked for and does not fit into memory, UnsupportedError where int8 cannot be had.
        """

        if precision is not None and precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
        place = _device(device)
        if precision is None:
            _check_memory(folder, place)
        dtype = _loading_type(precision, folder)
        if precision == "int8" and place.type != "cpu":
            raise UnsupportedError(f"precision 'int8' runs on a processor only, and the device is {place}; use 'bfloat16' there")
        before = huge_pages.mapped() if precision == "int8" else []
        model = load_folder(folder, dtype).to(place)
        config = _text_config(model)
        vocab_size = int(model.get_output_embeddings().weight.shape[0])
        if precision == "int8":
            if not kernels.pack_int8(model):
                raise UnsupportedError(
                    f"precision 'int8' cannot be had: torch {torch.__version__} has no right int8 layer for this processor, "
                    f"or {folder.name} has no linear layer of the usual kind; leave precision out"
                )
        else:
            kernels.pack(model)
        codec = Tokenizer.from_folder(folder, vocab_size=vocab_size)
        info = ModelInfo(
            name=name,
            fingerprint=fingerprint,
            architecture=type(model).__name__,
            vocab_size=vocab_size,
            tokenizer_size=codec.size,
            context_window=_context_window(config),
            eos_token_ids=codec.eos_token_ids,
            bos_token_id=codec.bos_token_id,
            pad_token_id=codec.pad_token_id,
            dtype="int8" if precision == "int8" else str(model.dtype).removeprefix("torch."),
            device=str(place),
            batch_invariant=precision in (None, "float32"),
            shares_trunks=True,
            left_over=folder.left_over,
        )
        size = 4 * sum(weight.numel() for weight in model.parameters())
        count = processor.quickest(size) if choose_threads and place.type == "cpu" else None
        # Looked up by the row, not read through.
        tables = [(weight.data_ptr(), weight.data_ptr() + weight.nbytes) for weight in model.parameters()]
        with processor.team_for_now(count):
            backend = cls(model, codec, info, threads=count)
        del model  # with the weights that were joined
        if precision == "int8" and size >= processor.SMALL_BYTES:
            huge_pages.gather(before, but=tables)
        return backend

    # The seam.

    def root(self) -> KVBranch | PlainBranch:
        return self._cache.root() if self._shares else PlainBranch()

    def fork(self, branch: Trunk, at: int | None = None) -> KVBranch | PlainBranch:
        if isinstance(branch, KVBranch):
            return self._cache.fork(branch, at)
        assert isinstance(branch, PlainBranch), "a branch of another backend"
        at = branch.length if at is None else at
        if not 0 <= at <= branch.length:
            raise ValueError(f"cannot fork at token {at} of a branch of {branch.length}")
        if at == branch.computed == branch.length and branch.cache is not None:
            branch.shared = True
            return PlainBranch(list(branch.ids), branch.cache, at, shared=True)
        return PlainBranch(branch.ids[:at])

    def free(self, branch: Trunk) -> None:
        if isinstance(branch, KVBranch):
            self._cache.free(branch)
        elif isinstance(branch, PlainBranch):
            branch.cache = None
            branch.ids = []
            branch.computed = 0

    def size_bytes(self) -> int:
        return self._cache.size_bytes

    @torch.inference_mode()
    def extend(self, rows: Sequence[Extension]) -> Outputs:
        starts = tuple(accumulate((row.wanted for row in rows), initial=0))
        return self._extend_tree(rows, starts) if self._shares else self._extend_plain(rows, starts)

    # Branches that share.

    def _extend_tree(self, rows: Sequence[Extension], starts: tuple[int, ...]) -> Outputs:
        branches: list[KVBranch] = [row.branch for row in rows]  # type: ignore[misc]
        plan = attention.BatchPlan(self._cache, branches, [len(row.token_ids) for row in rows])
        ids = [i for row in rows for i in row.token_ids]
        index = None
        if any(len(row.token_ids) != row.wanted for row in rows):
            ends = accumulate(len(row.token_ids) for row in rows)
            wanted = [i for row, end in zip(rows, ends, strict=True) for i in range(end - row.wanted, end)]
            index = torch.tensor(wanted, dtype=torch.long, device=self._device)
        states: Tensor | None
        if self._lean is not None:
            with processor.numpy_alone() if self._alone else nullcontext():
                logits, states = self._lean(ids, index, plan)
        else:
            given = torch.tensor(ids, dtype=torch.long, device=self._device)
            logits, states = self._forward(given, index, any(row.hidden for row in rows), plan)
        logits = self._only_tokens(logits)
        if states is None or not any(row.hidden for row in rows):
            return Outputs(logits, starts)
        pieces = torch.split(states, [len(row.token_ids) for row in rows])
        kept = (p.to(torch.float32, copy=True) if row.hidden else None for row, p in zip(rows, pieces, strict=True))
        return Outputs(logits, starts, tuple(kept))

    def _forward(
        self, ids: Tensor, index: Tensor | None, hidden: bool, plan: attention.BatchPlan
    ) -> tuple[Tensor, Tensor | None]:
        """ids: (T,); index: (N,) positions, None for all. Returns their logits (N, V), and last hidden states (T, D) or None."""
        # A model must compute some logits; where none are wanted, one position is asked for and dropped.
        keep = index if index is None or len(index) else torch.zeros(1, dtype=torch.long, device=self._device)
        selects = self._keeps_logits and keep is not None
        out = self.model(
            input_ids=ids.unsqueeze(0),
            position_ids=plan.positions().unsqueeze(0).to(self._device),
            use_cache=False,
            ramify_plan=plan,
            **({"logits_to_keep": keep} if selects else {}),
            **({"output_hidden_states": True} if hidden else {}),
        )
        logits = out.logits[0]
        if index is not None and not (selects and len(index)):
            logits = logits[index]
        return logits, out.hidden_states[-1][0] if hidden else None

    def _only_tokens(self, logits: Tensor) -> Tensor:
        """(N, V) in float32, ids that the tokenizer does not have at -inf. It may write into what was given."""
        logits = logits.float()
        return logits.index_fill_(1, self._missing_ids, -math.inf) if len(self._missing_ids) else logits

    # Branches that do not.

    def _extend_plain(self, rows: Sequence[Extension], starts: tuple[int, ...]) -> Outputs:
        outputs = [self._extend_one(row) for row in rows]
        return Outputs(torch.cat([logits for logits, _ in outputs]), starts, tuple(states for _, states in outputs))

    def _extend_one(self, row: Extension) -> tuple[Tensor, Tensor | None]:
        branch = row.branch
        assert isinstance(branch, PlainBranch), "a branch of another backend"
        branch.ids.extend(row.token_ids)
        if branch.shared and branch.cache is not None:
            branch.cache, branch.shared = copy.deepcopy(branch.cache), False
        if branch.cache is None or self._piece < 0:
            branch.cache, branch.computed = None, 0
        calls = []
        while branch.computed < branch.length:
            end = branch.length
            if branch.computed and self._piece == 1:
                end = branch.computed + 1
            calls.append(self._call_plain(branch, end, row.hidden))
        logits = torch.cat([logits for logits, _ in calls])[-row.wanted :] if row.wanted else calls[-1][0][:0]
        hidden = torch.cat([h for _, h in calls if h is not None])[-len(row.token_ids) :].float() if row.hidden else None
        return self._only_tokens(logits), hidden

    def _call_plain(self, branch: PlainBranch, end: int, wants_hidden: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the branch's tokens up to `end`. Returns logits (n, V) and hidden states (n, D) of those it computed."""
        start = branch.computed
        everything = {
            "position_ids": torch.arange(start, end, device=self._device).unsqueeze(0),
            "attention_mask": torch.ones((1, end), dtype=torch.long, device=self._device),
            "use_cache": self._piece >= 0,
            "past_key_values": branch.cache,
        }
        given = {name: value for name, value in everything.items() if name in self._takes and value is not None}
        if wants_hidden:  # taken by every model, by some in **kwargs only
            given["output_hidden_states"] = True
        out = self.model(input_ids=torch.tensor([branch.ids[start:end]], device=self._device), **given)
        branch.cache = out.get("past_key_values") if self._piece >= 0 else None
        branch.computed = end
        return out.logits[0], out.hidden_states[-1][0] if wants_hidden else None

    # Which way to go.

    def _tree_agrees(self) -> bool:
        """Decode a few tokens over the tree and as the library does, in few operations first; True when one way agrees."""
        if _remembers_otherwise(_text_config(self.model)):
            return False
        ids = self._trial_ids()
        library = self._library_logits(ids)
        self._lean = LeanDecoder.of(self.model)
        if self._lean is not None:
            self._cache = KVCache(self._cache.num_layers, (self._lean.kv_heads, self._lean.width))
            if self._tree_says(ids, library):
                self.model = None
                return True
            self._lean = None
            self._cache = KVCache(self._cache.num_layers)
        attention.register()
        before = _attention_of(self.model)
        with contextlib.suppress(*TRIED_ERRORS):
            self.model.set_attn_implementation(attention.NAME)
            if self._tree_says(ids, library):
                return True
        self.model.set_attn_implementation(before)
        return False

    def _tree_says(self, ids: list[int], library: Tensor) -> bool:
        """Whether the tree, with a fork, gives the library's logits of `ids`."""
        attention.windows_seen.clear()
        try:
            trunk = self._cache.root()
            self._extend_tree([Extension(trunk, ids[:7], 1)], (0, 1))
            fork = self._cache.fork(trunk, 5)
            ours = self._extend_tree([Extension(fork, ids[5:9], 4), Extension(trunk, ids[7:8], 1)], (0, 4, 5))[0]
            after = self._extend_tree([Extension(fork, ids[9:10], 1)], (0, 1))[0]
            self._cache.free(fork)
            self._cache.free(trunk)
            self._check_windows()
        except TRIED_ERRORS:
            self._cache = KVCache(self._cache.num_layers)
            return False
        return self._close(torch.cat([ours, after]), library[5:10])

    def _trusted_piece(self) -> int:
        """How a plain branch may grow: try several tokens on a cache, then single ones. See `_piece`."""
        ids = self._trial_ids()
        library = self._library_logits(ids)
        for piece, cuts in ((0, (4, 7, 8)), (1, (4, 5, 6, 7, 8))):
            self._piece = piece
            branch, starts = PlainBranch(), (0, *cuts)
            rows = [Extension(branch, ids[a:b], b - a) for a, b in pairwise(starts)]
            try:
                got = torch.cat([self._extend_one(row)[0] for row in rows])
            except TRIED_ERRORS:
                continue
            if self._close(got, library[:8]):
                return piece
        return -1

    def _trial_ids(self) -> list[int]:
        allowed = torch.nonzero(~self._missing).flatten().cpu()
        chosen = torch.randint(len(allowed), (12,), generator=torch.Generator().manual_seed(0))
        ids: list[int] = allowed[chosen].tolist()
        return ids

    @torch.inference_mode()
    def _library_logits(self, ids: list[int]) -> Tensor:
        given = {"use_cache": False} if "use_cache" in self._takes else {}
        logits: Tensor = self.model(input_ids=torch.tensor([ids], device=self._device), **given).logits[0].float()
        return logits

    def _close(self, got: Tensor, expected: Tensor) -> bool:
        """Whether two ways of computing the same logits (N, V) agree as far as the precision goes."""
        keep = ~self._missing
        got, expected = got[:, keep], expected[:, keep]
        apart, spread = got - expected, float(expected.std())
        if self._rounds:  # on which side of a step a sum falls is chance, and of many logits one lies far: so all together
            return float(apart.square().mean().sqrt()) <= COARSE * spread
        return float(apart.abs().max()) <= self._tolerance * max(spread, 1.0)

    def _check_windows(self) -> None:
        """A model with a sliding window must hand it to the attention function; in a mask alone it would never reach us."""
        config = _text_config(self.model)
        window = getattr(config, "sliding_window", None)
        used = getattr(config, "use_sliding_window", True)
        if used and isinstance(window, int) and window < _context_window(config) and not attention.windows_seen:
            kinds = getattr(config, "layer_types", None)
            if kinds is None or "sliding_attention" in kinds:
                raise ValueError("the window does not reach the attention function")

    def _use_library_attention(self) -> None:
        if _attention_of(self.model) == attention.NAME:
            self.model.set_attn_implementation("eager")


def _loading_type(precision: str | None, folder: ModelFolder) -> torch.dtype | str:
    """The type to read weights in: for int8 as they are stored, unless an adapter is to be added to them."""
    if precision == "int8":
        return "auto" if folder.adapter is None else torch.float32
    kind: torch.dtype = getattr(torch, precision or "float32")
    return kind


def _device(name: str | None) -> torch.device:
    try:
        place = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise InputError(f"device is {name!r}; it must be 'cpu', 'cuda', 'cuda:1' and the like, or 'mps'") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise UnsupportedError(
            f"device is {name!r}, and this machine has {torch.cuda.device_count()} usable GPUs; use device='cpu'"
        )
    return place


def _check_memory(folder: ModelFolder, place: torch.device) -> None:
    """Refuse to choose float32 where it cannot fit, rather than choose a precision that promises less."""
    import psutil

    stored = str(folder.config.get("dtype") or folder.config.get("torch_dtype") or "float32")
    needed = sum(file.stat().st_size for file in folder.weights) * (2 if stored in ("bfloat16", "float16") else 1)
    free = torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{folder.name} takes {needed / 1e9:.1f} GB in float32 and {free / 1e9:.1f} GB are free on {place}; "
            "precision='bfloat16' takes half, at the price that near-ties may fall differently in different batches"
        )


def _text_config(model: nn.Module) -> Any:
    return model.config.get_text_config()  # type: ignore[operator, union-attr]


def _attention_of(model: nn.Module) -> str:
    return str(model.config._attn_implementation)  # type: ignore[union-attr]


def _context_window(config: Any) -> int:
    """Tokens the model was made for; models without a bound (state-space ones) get 2**20."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 2**20


def _remembers_otherwise(config: Any) -> bool:
    """Whether some layer is neither full nor sliding attention, which a short trial would not show."""
    kinds = set(getattr(config, "layer_types", None) or ())
    chunked = getattr(config, "attention_chunk_size", None)
    return bool(kinds - {"full_attention", "sliding_attention", "attention"}) or chunked is not None


def _ids_without_a_token(codec: Tokenizer, vocab_size: int) -> Tensor:
    """(V,) bool: padding ids beyond the tokenizer, and holes in it."""
    return ~torch.from_numpy(codec.exists[:vocab_size].copy())
