"""What is measured: four ways in which people use a model. Each is a list of (prompt ids, tokens to generate), and how."""

import dataclasses
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """prompts[i] is answered with lengths[i] new tokens; `returns` completions each, over `beams` beams."""

    name: str
    prompts: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]
    returns: int = 1
    beams: int = 1

    @property
    def tokens_out(self) -> int:
        return sum(self.lengths) * self.returns

    def shorter(self, divisor: int) -> "Workload":
        """The same with prompts and answers a `divisor`-th as long, so that their proportion stays."""
        if divisor == 1:
            return self
        return dataclasses.replace(
            self,
            name=f"{self.name} (1/{divisor})",
            prompts=tuple(ids[: max(1, len(ids) // divisor)] for ids in self.prompts),
            lengths=tuple(max(1, length // divisor) for length in self.lengths),
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        given = json.loads(text)
        prompts, lengths = tuple(map(tuple, given.pop("prompts"))), tuple(given.pop("lengths"))
        return cls(prompts=prompts, lengths=lengths, **given)


def _ids(chance: random.Random, count: int) -> tuple[int, ...]:
    return tuple(chance.randrange(300, 150_000) for _ in range(count))


def _mixed(chance: random.Random) -> Workload:
    sizes: Sequence[int] = [chance.choice((16, 48, 96, 160, 320)) for _ in range(32)]
    lengths = tuple(chance.choice((24, 48, 72, 96, 128)) for _ in range(32))
    return Workload(name="32 mixed prompts", prompts=tuple(_ids(chance, n) for n in sizes), lengths=lengths)


def _workloads() -> tuple[Workload, ...]:
    chance = random.Random(0)
    return (
        Workload(name="single stream, 128 + 64", prompts=(_ids(chance, 128),), lengths=(64,)),
        _mixed(chance),
        Workload(name="16 completions of 512, 64 each", prompts=(_ids(chance, 512),), lengths=(64,), returns=16),
        Workload(name="4 beams, 128 + 64", prompts=(_ids(chance, 128),), lengths=(64,), beams=4),
    )


WORKLOADS = _workloads()
