"""A model whose every probability is written down: for tests, and for documentation one can check in the head."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ramify.errors import InputError
from ramify.models.base import Extension, ModelInfo, Outputs, Trunk
from ramify.models.tokenizer import TokenTable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Script", "ScriptedBackend", "ScriptedTokenizer", "ScriptedTrunk"]

Script = Callable[[tuple[int, ...]], "Sequence[float] | npt.NDArray[Any] | Tensor"]
"""All the ids so far -> the (V,) logits of what comes next."""

Table = Mapping[str | tuple[str | int, ...], Mapping[str | int, float]]
"""What came so far -> the probabilities of what comes next: {"": {"a": 0.6, "b": 0.4}, "a": {"<eos>": 1.0}}."""


class ScriptedTokenizer(TokenTable):
    """A vocabulary written down: `words` get ids 0, 1, 2 …, then `<eos>`, then `bos` if it is given.

    A text is split into the longest word at each place. padding: extra ids in the logits that have no token, as Qwen2
    has.
    """

    def __init__(
        self, words: Sequence[str | bytes] = ("a", "b", "c"), *, eos: str = "<eos>", bos: str | None = None, padding: int = 0
    ) -> None:
        spelt = [word.encode() if isinstance(word, str) else word for word in words]
        if len(set(spelt)) != len(spelt) or b"" in spelt:
            raise InputError(f"the words of a scripted vocabulary must differ and not be empty; got {list(words)!r}")
        named = [eos] if bos is None else [eos, bos]
        special = {name.encode(): len(spelt) + i for i, name in enumerate(named)}
        literal = dict(enumerate(spelt)) | {i: name for name, i in special.items()}
        super().__init__(
            literal,
            special_ids=special.values(),
            vocab_size=len(literal) + padding,
            eos_token_ids=(special[eos.encode()],),
            bos_token_id=None if bos is None else special[bos.encode()],
        )
        self.chat_template: str | dict[str, str] | None = None
        self.special_tokens = {"eos_token": eos} | ({} if bos is None else {"bos_token": bos})
        self.added_tokens = {name.decode(): i for name, i in special.items()}
        self.swallows_before = self.swallows_after = frozenset[str]()
        self.exact = True
        self._ordinary = {word: i for i, word in enumerate(spelt)}
        self._special = special

    @classmethod
    def of_bytes(cls, *, padding: int = 0) -> "ScriptedTokenizer":
        """One token for each byte, so that every text has tokens."""
        return cls([bytes([byte]) for byte in range(256)], padding=padding)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids.

        special=True: `<eos>` in the text is the token, and `bos` is put before. Raises InputError for unknown
        characters.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the text has a lone surrogate at character {error.start}") from None
        words = self._ordinary | self._special if special else self._ordinary
        ids = [self.bos_token_id] if special and self.bos_token_id is not None else []
        at = 0
        while at < len(data):
            word = max((word for word in words if data.startswith(word, at)), key=len, default=None)
            if word is None:
                raise InputError(f"{data[at:].decode('utf-8', 'replace')!r} does not begin with any word of {sorted(words)!r}")
            ids.append(words[word])
            at += len(word)
        return ids

    def encode_rendered(self, text: str) -> list[int]:
        """As `encode(special=True)`, with nothing put before."""
        ids = self.encode(text, special=True)
        return ids[1:] if self.bos_token_id is not None else ids

    def encode_literal(self, text: str) -> list[int]:
        """As `encode(special=False)`."""
        return self.encode(text)

    @cached_property
    def llguidance(self) -> Any:
        """This vocabulary as `llguidance.LLTokenizer`."""
        return self.described_to_llguidance(self.encode)

    def fingerprint(self) -> str:
        """The vocabulary itself, as text."""
        return repr((self.literal_bytes, self.eos_token_ids, self.bos_token_id))


class _Node:
    """One token of the tree; its keys and values, if this were a real model."""

    __slots__ = ("parent", "token_id", "users")

    def __init__(self, parent: "_Node | None", token_id: int) -> None:
        self.parent, self.token_id, self.users = parent, token_id, 1


class ScriptedTrunk:
    """A branch of the scripted model."""

    __slots__ = ("_last", "_length")

    def __init__(self, last: _Node | None, length: int) -> None:
        self._last, self._length = last, length

    @property
    def length(self) -> int:
        return self._length

    @property
    def ids(self) -> tuple[int, ...]:
        """The branch's tokens."""
        ids, node = [], self._last
        while node is not None:
            ids.append(node.token_id)
            node = node.parent
        return tuple(reversed(ids))


class ScriptedBackend:
    """A model that says what a function or a table says.

    With a table, a history that it does not name is followed by every token that exists, equally likely. The hidden
    state of a position is the one-hot vector of its token (D = V), so that only equal tokens are alike to contrastive
    search. forward_passes and tokens_computed count what was asked for; size_bytes is 8 for each live token, shared
    ones once.
    """

    def __init__(
        self, script: Script | Table | None = None, codec: ScriptedTokenizer | None = None, *, context_window: int = 1024
    ) -> None:
        self.codec = codec or ScriptedTokenizer()
        self._script: Script = script if callable(script) else self._from_table(script or {})
        self.forward_passes = 0
        self.tokens_computed = 0
        self.threads: int | None = None
        self._live = 0
        self.info = ModelInfo(
            name="scripted",
            fingerprint="scripted",
            architecture="scripted",
            vocab_size=self.codec.vocab_size,
            tokenizer_size=self.codec.size,
            context_window=context_window,
            eos_token_ids=self.codec.eos_token_ids,
            bos_token_id=self.codec.bos_token_id,
            pad_token_id=self.codec.pad_token_id,
            dtype="float32",
            device="cpu",
            batch_invariant=True,
            shares_trunks=True,
        )

    def root(self) -> ScriptedTrunk:
        return ScriptedTrunk(None, 0)

    def extend(self, rows: Sequence[Extension]) -> Outputs:
        """One forward pass.

        Raises ValueError for a branch that appears twice, and when more positions are wanted than tokens given.
        """
        import torch

        if len({id(row.branch) for row in rows}) != len(rows):
            raise ValueError("a branch appears twice in one forward pass")
        self.forward_passes += 1
        asked = [self._extend(row) for row in rows]
        starts = tuple(accumulate((row.wanted for row in rows), initial=0))
        logits = torch.full((starts[-1], self.codec.vocab_size), -torch.inf)
        exists = torch.from_numpy(self.codec.exists)
        histories = [history for each in asked for history in each]
        for row, history in zip(logits, histories, strict=True):
            row[exists] = torch.as_tensor(self._script(history), dtype=torch.float32)[exists]
        if not any(row.hidden for row in rows):
            return Outputs(logits, starts)

        def states(ids: Sequence[int]) -> "Tensor":
            return torch.nn.functional.one_hot(torch.tensor(ids, dtype=torch.long), self.codec.vocab_size).float()

        return Outputs(logits, starts, tuple(states(row.token_ids) if row.hidden else None for row in rows))

    def fork(self, branch: Trunk, at: int | None = None) -> ScriptedTrunk:
        assert isinstance(branch, ScriptedTrunk)
        at = branch.length if at is None else at
        if not 0 <= at <= branch.length:
            raise ValueError(f"cannot fork at token {at} of a branch of {branch.length}")
        node = branch._last
        for _ in range(branch.length - at):
            assert node is not None
            node = node.parent
        if node is not None:
            node.users += 1
        return ScriptedTrunk(node, at)

    def free(self, branch: Trunk) -> None:
        assert isinstance(branch, ScriptedTrunk)
        node = branch._last
        branch._last, branch._length = None, 0
        while node is not None:
            node.users -= 1
            if node.users:
                return
            self._live -= 1
            node = node.parent

    def size_bytes(self) -> int:
        return 8 * self._live

    def _extend(self, row: Extension) -> list[tuple[int, ...]]:
        """Append the tokens; returns the history at each wanted position."""
        branch = row.branch
        assert isinstance(branch, ScriptedTrunk)
        if row.wanted > len(row.token_ids):
            raise ValueError(f"{row.wanted} positions are wanted of {len(row.token_ids)} tokens")
        for token_id in row.token_ids:
            branch._last = _Node(branch._last, int(token_id))
            branch._length += 1
        self._live += len(row.token_ids)
        self.tokens_computed += len(row.token_ids)
        ids = branch.ids
        return [ids[:end] for end in range(len(ids) - row.wanted + 1, len(ids) + 1)]

    def _from_table(self, table: Table) -> Script:
        rows = {self._history(history): self._row(history, said) for history, said in table.items()}
        uniform = np.where(self.codec.exists, 0.0, -np.inf)
        return lambda ids: rows.get(ids, uniform)

    def _history(self, history: str | tuple[str | int, ...]) -> tuple[int, ...]:
        if isinstance(history, str):
            return tuple(self.codec.encode_rendered(history))
        return tuple(i for part in history for i in ([part] if isinstance(part, int) else self.codec.encode_rendered(part)))

    def _row(self, history: object, said: Mapping[str | int, float]) -> npt.NDArray[np.float64]:
        row = np.zeros(self.codec.vocab_size)
        for token, probability in said.items():
            ids = [token] if isinstance(token, int) else self.codec.encode_rendered(token)
            if len(ids) != 1:
                raise InputError(f"{token!r} is {len(ids)} tokens of the scripted vocabulary; a table names single tokens")
            row[ids[0]] = probability
        if (row < 0).any() or abs(row.sum() - 1) > 1e-6:
            raise InputError(f"the probabilities after {history!r} sum to {row.sum():g}; they must not be negative and sum to 1")
        with np.errstate(divide="ignore"):
            return np.log(row)
