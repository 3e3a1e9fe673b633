"""The GGUF backend: a model in one file, run by llama.cpp, decoding the same branches as any other.

A branch is one of llama.cpp's sequences: forking marks cells as shared, a step is one call for all rows. There are 256 sequences;
when more branches live, those that were not used for longest lose theirs and are computed again, from their ids, should they go
on. A file whose weights are all float32 has keys, values and attention in float32, too, and keeps the law that a row does not
depend on its company. All others get llama.cpp's float16 ones, and it rounds each row's activations to the weights' type, so sums
that differ in their last digit can fall on either side of a rounding step: `ModelInfo.batch_invariant` is False then.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ramify.errors import UnsupportedError
from ramify.models.base import Extension, ModelInfo, Outputs, Trunk
from ramify.models.gguf_context import BATCH_TOKENS, OUTPUTS, Context, Part, library
from ramify.models.gguf_files import GGUFFile
from ramify.models.gguf_tokenizer import GGUFCodec, codec_of
from ramify.models.threads import quickest, team_for_now

__all__ = ["KEPT_CELLS", "GGUFBackend", "GGUFBranch"]

KEPT_CELLS, KEPT_EXACT_CELLS = 16_384, 4096
"""Tokens of keys and values that stay for later requests. Every cell in use costs each row of each step a look at its mask, and
in float32, where there is no flash attention, as much as if it were the row's own."""
TOGETHER = 0.75
"""Of the sequences, for the rows of one call: some are left to the branches that wait."""


@dataclass(slots=True, eq=False)
class GGUFBranch:
    """A branch: its ids, and llama.cpp's sequence that holds the first `computed` of them."""

    ids: list[int] = field(default_factory=list)
    sequence: int | None = None
    cells: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """One number a computed token; branches that share a token share the number."""
    used_at: int = 0
    freed: bool = False

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def computed(self) -> int:
        return len(self.cells)


class GGUFBackend:
    """A model of a GGUF file."""

    def __init__(self, context: Context, codec: GGUFCodec, info: ModelInfo, *, threads: int | None = None) -> None:
        self.context = context
        self.codec = codec
        self.info = info
        self.threads = threads
        self._together = int(TOGETHER * context.sequences)
        self._missing = _ranges(~codec.exists)
        self._free = list(range(context.sequences))[::-1]
        self._holders: dict[int, GGUFBranch] = {}
        self._clock = 0
        self._cells = _Cells()
        self._cell_bytes, self._state_bytes = self._measured()

    @classmethod
    def load(
        cls,
        file: GGUFFile,
        *,
        name: str,
        fingerprint: str,
        device: str | None = None,
        precision: str | None = None,
        choose_threads: bool = False,
    ) -> "GGUFBackend":
        """Load a file whose head was read. choose_threads: a small model has one thread.

        Raises UnsupportedError without llama.cpp, and for a device or a precision that it cannot have.
        """
        lib = library()
        if precision is not None:
            raise UnsupportedError(
                f"precision is {precision!r}, and {file.path.name!r} has its own ({file.precision}); leave it out, or write "
                "another file with `ramify models to-gguf --type`"
            )
        gpu = device not in (None, "cpu")
        if gpu and not lib.llama_supports_gpu_offload():
            raise UnsupportedError(f"device is {device!r}, and this llama.cpp was made for the processor alone; use device='cpu'")
        count = quickest(sum(part.stat().st_size for part in file.parts)) if choose_threads and not gpu else None
        context = Context(file, threads=count or torch.get_num_threads(), gpu=gpu)
        codec = codec_of(file, context)
        info = ModelInfo(
            name=name,
            fingerprint=fingerprint,
            architecture=file.architecture,
            vocab_size=context.vocab_size,
            tokenizer_size=codec.size,
            context_window=context.window,
            eos_token_ids=codec.eos_token_ids,
            bos_token_id=codec.bos_token_id,
            pad_token_id=codec.pad_token_id,
            dtype=file.precision,
            device=device if gpu and device else "cpu",
            batch_invariant=file.float32_only and not gpu,
            shares_trunks=not context.recurrent,
        )
        with team_for_now(count):
            return cls(context, codec, info, threads=count)

    @property
    def kept_bytes(self) -> int:
        """How much it is worth to remember for later requests."""
        return (KEPT_CELLS if self.info.dtype != "float32" else KEPT_EXACT_CELLS) * self._cell_bytes

    # The seam.

    def root(self) -> GGUFBranch:
        return GGUFBranch()

    def fork(self, branch: Trunk, at: int | None = None) -> GGUFBranch:
        assert isinstance(branch, GGUFBranch), "a branch of another backend"
        _check_alive(branch)
        at = branch.length if at is None else at
        if not 0 <= at <= branch.length:
            raise ValueError(f"cannot fork at token {at} of a branch of {branch.length}")
        fork = GGUFBranch(branch.ids[:at])
        shared = min(at, branch.computed)
        if branch.sequence is None or shared == 0 or (self.context.recurrent and shared < branch.computed):
            return fork
        self._touch(branch)
        self._seat(fork, {id(branch)})
        if branch.sequence is not None and fork.sequence is not None:
            self.context.copy(branch.sequence, fork.sequence, shared)
            fork.cells = self._cells.share(branch.cells[:shared])
        return fork

    def free(self, branch: Trunk) -> None:
        assert isinstance(branch, GGUFBranch), "a branch of another backend"
        _check_alive(branch)
        self._unseat(branch)
        branch.ids = []
        branch.freed = True

    def size_bytes(self) -> int:
        return self._cells.used * self._cell_bytes + len(self._holders) * self._state_bytes

    @torch.inference_mode()
    def extend(self, rows: Sequence[Extension]) -> Outputs:
        starts = tuple(accumulate((row.wanted for row in rows), initial=0))
        logits = torch.empty((starts[-1], self.info.vocab_size))
        hidden: list[Tensor | None] = [None] * len(rows)
        for first in range(0, len(rows), self._together):
            chosen = rows[first : first + self._together]
            self._make_room(chosen)
            for row in chosen:
                _branch_of(row).ids.extend(map(int, row.token_ids))
            self._compute(chosen, logits[starts[first] : starts[first + len(chosen)]], hidden, first)
        for start, end in self._missing:
            logits[:, start:end] = -math.inf
        return Outputs(logits, starts, tuple(hidden) if any(row.hidden for row in rows) else ())

    # One call after another.

    def _compute(self, rows: Sequence[Extension], logits: Tensor, hidden: list[Tensor | None], first: int) -> None:
        states: list[list[Tensor]] = [[] for _ in rows]
        done = 0
        for pieces, asks in self._calls(rows):
            try:
                found, seen = self.context.decode([part for _, part in pieces], hidden=asks)
            except Exception:
                for i, part in pieces:
                    self._forget_from(_branch_of(rows[i]), part.start)
                raise
            logits[done : done + len(found)] = torch.from_numpy(found)
            done += len(found)
            at = 0
            for i, part in pieces:
                branch = _branch_of(rows[i])
                branch.cells = np.concatenate([branch.cells, self._cells.take(len(part.token_ids))])
                if seen is not None:
                    states[i].append(torch.from_numpy(seen[at : at + len(part.token_ids)].copy()))
                at += len(part.token_ids)
        for i, row in enumerate(rows):
            if row.hidden:
                hidden[first + i] = torch.cat(states[i])[-len(row.token_ids) :]

    def _calls(self, rows: Sequence[Extension]) -> Iterator[tuple[list[tuple[int, Part]], bool]]:
        """What each call computes: [(row, its tokens)], and whether hidden states are asked for."""
        pieces: list[tuple[int, Part]] = []
        tokens = outputs = 0
        asks = False
        for i, row in enumerate(rows):
            branch = _branch_of(row)
            assert branch.sequence is not None
            at, end = branch.computed, branch.length
            while at < end:
                room = min(BATCH_TOKENS - tokens, OUTPUTS - (tokens if row.hidden else outputs))
                if pieces and (room <= 0 or asks != row.hidden):
                    yield pieces, asks
                    pieces, tokens, outputs = [], 0, 0
                    continue
                asks = row.hidden
                # Tokens before the wanted ones are bounded by the batch alone.
                count = min(end - at, room if row.hidden else BATCH_TOKENS - tokens)
                wanted = max(0, at + count - max(at, end - row.wanted))
                if not row.hidden and wanted > room:
                    count, wanted = count - (wanted - room), room
                pieces.append((i, Part(branch.sequence, at, branch.ids[at : at + count], wanted)))
                at, tokens, outputs = at + count, tokens + count, outputs + wanted
        if pieces:
            yield pieces, asks

    # Sequences and cells.

    def _make_room(self, rows: Sequence[Extension]) -> None:
        busy = {id(row.branch) for row in rows}
        assert len(busy) == len(rows), "a branch appears twice in one forward pass"
        for row in rows:
            _check_alive(_branch_of(row))
            self._touch(_branch_of(row))
            if _branch_of(row).sequence is None:
                self._seat(_branch_of(row), busy)
        new = sum(_branch_of(row).length - _branch_of(row).computed + len(row.token_ids) for row in rows)
        while (needed := self._cells.used + new) > self.context.cells:
            if self.context.grow(max(needed, self.context.cells * 2)) or self.context.grow(needed):
                break
            waiting = min((b for b in self._holders.values() if id(b) not in busy), key=lambda b: b.used_at, default=None)
            if waiting is None:
                raise MemoryError(f"{needed:,} tokens of keys and values do not fit into the memory")
            self._unseat(waiting)

    def _seat(self, branch: GGUFBranch, busy: set[int]) -> None:
        """Give a branch a sequence; where there is none left, take that of the one which was not used for longest."""
        if not self._free:
            self._unseat(min((b for b in self._holders.values() if id(b) not in busy), key=lambda b: b.used_at))
        branch.sequence = self._free.pop()
        self._holders[branch.sequence] = branch
        self._touch(branch)

    def _unseat(self, branch: GGUFBranch) -> None:
        if branch.sequence is not None:
            self.context.drop(branch.sequence)
            self._free.append(branch.sequence)
            del self._holders[branch.sequence]
            self._cells.release(branch.cells)
            branch.sequence, branch.cells = None, np.empty(0, np.int64)

    def _forget_from(self, branch: GGUFBranch, start: int) -> None:
        """After a failure: whatever a call left behind `start` is gone."""
        if branch.sequence is not None and not self.context.drop(branch.sequence, start):
            self._unseat(branch)

    def _touch(self, branch: GGUFBranch) -> None:
        self._clock += 1
        branch.used_at = self._clock

    def _measured(self) -> tuple[int, int]:
        """Bytes of keys and values a token, and bytes a sequence has beside them, by llama.cpp's own count."""
        branch = self.root()
        some = int(np.flatnonzero(self.codec.exists)[0])
        sizes = []
        for _ in range(2):
            self.extend([Extension(branch, [some] * 8, 0)])
            assert branch.sequence is not None
            sizes.append(self.context.sequence_bytes(branch.sequence))
        self.free(branch)
        each = (sizes[1] - sizes[0]) // 8
        return each, sizes[0] - 8 * each if self.context.recurrent else 0

    def close(self) -> None:
        """Give the model's memory back; nothing may be asked of it afterwards."""
        self.context.close()


class _Cells:
    """Which tokens of keys and values are in use, and by how many branches."""

    def __init__(self) -> None:
        self._users = np.zeros(1024, np.int64)
        self._idle = list(range(1024))[::-1]
        self.used = 0

    def take(self, count: int) -> npt.NDArray[np.int64]:
        """New tokens, one user each."""
        while len(self._idle) < count:
            size = len(self._users)
            self._users = np.concatenate([self._users, np.zeros(size, np.int64)])
            self._idle[:0] = range(2 * size - 1, size - 1, -1)
        taken = np.array([self._idle.pop() for _ in range(count)], np.int64)
        self._users[taken] = 1
        self.used += count
        return taken

    def share(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self._users[cells] += 1
        return cells.copy()

    def release(self, cells: npt.NDArray[np.int64]) -> None:
        self._users[cells] -= 1
        gone = cells[self._users[cells] == 0]
        self._idle.extend(gone.tolist())
        self.used -= len(gone)


def _branch_of(row: Extension) -> GGUFBranch:
    assert isinstance(row.branch, GGUFBranch), "a branch of another backend"
    return row.branch


def _check_alive(branch: GGUFBranch) -> None:
    if branch.freed:
        raise ValueError("this branch was freed; fork one that is alive")


def _ranges(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The runs of True as half-open ranges: padding is one run at the end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
