"""Train the embedded model's weights on an accelerator, in minutes: teachers first, then the model itself.

    python -m recipes.tiny.teach --prepare BOOKS      the token ids of the material, and of a folder of books
    python -m recipes.tiny.teach --out .cache/tiny/taught
    python -m recipes.tiny.evaluate --model .cache/tiny/taught
    python -m recipes.tiny.build --from install --weights .cache/tiny/taught

There are four million tokens of stories, which a model of any size soon knows by heart. So larger models with dropout learn them
(and, at first, old books), their expectations are averaged, and they write more stories. The model learns from what they expect
in real and in written stories, from the real tokens, and from the conversations of the other stages as they are.

Sources: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; Srivastava et al. 2014, "Dropout".
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramify.training.models import new_model, save_model
from ramify.training.scratch_plans import PRESETS
from recipes.tiny.material import PACKAGE_FOLDER, write_rows
from recipes.tiny.stack import Stack

__all__ = ["Expected", "Rows", "main", "prepare", "soft_loss"]

BOS, END = 1, 2
VOCABULARY = 4096
KINDS = ("stories", "pairs", "more_pairs", "copies", "books", "held_out_stories", "held_out_pairs")
BOOK_WINDOW = 384
"""Tokens of a window of a book, which begins and ends anywhere."""
LIKELIEST = 64
"""Tokens of which the teachers' expectation is kept at each place; the others count as one."""
LEAST = 1e-6

Say = Callable[..., None]


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right, (B, W) each."""

    ids: Tensor
    learned: Tensor
    """Whether the token is to be predicted."""
    at: Tensor
    """Where it lies among all tokens."""


class Rows:
    """Rows of token ids behind one another, on one device, by kind."""

    def __init__(self, parts: dict[str, tuple[Tensor, Tensor, np.ndarray]]) -> None:
        """parts: of each kind ids (T,) int16, which are learned (T,) bool, and the rows' lengths (N,)."""
        self.parts = parts
        self.ids = torch.cat([ids for ids, _, _ in parts.values()])
        self.learned = torch.cat([learned for _, learned, _ in parts.values()])
        self.lengths = np.concatenate([lengths for _, _, lengths in parts.values()]).astype(np.int64)
        self.ends = torch.from_numpy(np.cumsum(self.lengths)).to(self.ids.device)
        counts = np.cumsum([0, *(len(lengths) for _, _, lengths in parts.values())])
        self.numbers = {kind: np.arange(counts[i], counts[i + 1]) for i, kind in enumerate(parts)}

    def batch(self, rows: np.ndarray) -> Batch:
        lengths = self.lengths[rows]
        width = -(-int(lengths.max()) // 32) * 32
        sizes, numbers = (self._sent(each) for each in (lengths, rows))
        place = torch.arange(width, device=self.ids.device)
        there = place < sizes.unsqueeze(1)
        at = ((self.ends[numbers] - sizes).unsqueeze(1) + place).clamp(max=len(self.ids) - 1)
        return Batch(torch.where(there, self.ids[at].long(), 0), there & self.learned[at], at)

    def _sent(self, numbers: np.ndarray) -> Tensor:
        there = torch.from_numpy(numbers)
        return there.pin_memory().to(self.ids.device, non_blocking=True) if self.ids.is_cuda else there


def prepare(material: Path, books: Path, tokenizer_folder: Path, file: Path) -> None:
    """Write all rows as token ids into one compressed file."""
    from ramify.training.rows import read_documents, read_examples, read_rows
    from ramify.training.tokenizers import encode_plain, load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder)
    arrays: dict[str, np.ndarray] = {}

    def put(kind: str, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        arrays[f"{kind}.lengths"] = np.array([len(ids) for ids, _ in rows], dtype=np.int32)
        arrays[f"{kind}.ids"] = np.concatenate([np.array(ids, dtype=np.int16) for ids, _ in rows])
        arrays[f"{kind}.learned"] = np.concatenate([np.array(labels) >= 0 for _, labels in rows])
        print(kind, len(rows), "rows", len(arrays[f"{kind}.ids"]), "tokens", flush=True)

    stories = [row for row in read_rows(material / "text.jsonl") if "text" in row]
    told = encode_plain(tokenizer, [row["text"] for row in stories])
    put("stories", [([BOS, *ids, END], [-100, *ids, END]) for ids in told])
    for kind in ("pairs", "more_pairs", "copies", "held_out_pairs"):
        examples = read_examples(material / f"{kind}.jsonl", tokenizer)
        put(kind, [(each.token_ids, each.labels) for each in examples if len(each.token_ids) <= 1024])
    held = read_documents(material / "held_out_stories.jsonl", tokenizer, max_length=2048)
    put("held_out_stories", [(each.token_ids, (-100, *each.labels[1:])) for each in held])
    texts = [path.read_text(encoding="utf-8") for path in sorted(books.glob("*.txt"))]
    write_rows(material / "books.jsonl", ({"text": text} for text in texts))  # what `evaluate` looks for copies in
    windows = []
    for ids in encode_plain(tokenizer, texts):
        windows += [[BOS, *ids[at : at + BOOK_WINDOW]] for at in range(0, len(ids) - BOOK_WINDOW, BOOK_WINDOW)]
    put("books", [(ids, [-100, *ids[1:]]) for ids in windows])
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(file: Path, device: torch.device) -> Rows:
    """The rows of each kind."""
    with np.load(file) as held:
        return Rows({
            kind: (*(torch.from_numpy(held[f"{kind}.{part}"]).to(device) for part in ("ids", "learned")), held[f"{kind}.lengths"])
            for kind in KINDS
        })  # fmt: skip


def mixture(shares: Callable[[], dict[str, float]], rows: Rows, tokens: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of step after step, about `tokens` tokens each with their padding, of nearly equal lengths.

    shares: of the tokens, by kind, asked again for every sixteen steps. A kind's rows come in a new order each time all were had.
    """
    rng = np.random.default_rng(seed)
    orders: dict[str, list[int]] = {}

    def take(kind: str, wanted: float) -> list[int]:
        found: list[int] = []
        while wanted > 0:
            if not orders.get(kind):
                orders[kind] = rng.permutation(rows.numbers[kind]).tolist()
            found.append(orders[kind].pop())
            wanted -= rows.lengths[found[-1]]
        return found

    while True:
        window = np.array([row for kind, share in shares().items() if share > 0 for row in take(kind, share * tokens * 16)])
        lengths = rows.lengths[window]
        window = window[np.argsort(lengths + rng.random(len(window)))]
        widths = -(-rows.lengths[window] // 32) * 32
        steps: list[np.ndarray] = []
        at = 0
        while at < len(window):
            end = at + 1
            while end < len(window) and widths[end] * (end + 1 - at) <= tokens:
                end += 1
            steps.append(window[at:end])
            at = end
        order = rng.permutation(len(steps))
        yield from (steps[i] for i in order)


class Schedule:
    """Seconds that are left, and the share of the learning rate: up, level, and down to zero at the end."""

    def __init__(self, seconds: float, *, level: float) -> None:
        self.begun, self.seconds, self.level, self.steps = time.monotonic(), seconds, level, 0

    @property
    def done(self) -> float:
        return min(1.0, (time.monotonic() - self.begun) / self.seconds)

    def step(self, optimizers: Sequence[torch.optim.Optimizer]) -> bool:
        """Set the rates; whether there is time for the step."""
        self.steps += 1
        share = min(1.0, self.steps / 100, (1 - self.done) / (1 - self.level))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * share
        return self.done < 1


class Expected:
    """What teachers expect of tokens that lie among all: of the likeliest, and the rest as one."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.ids = torch.zeros(tokens, LIKELIEST, dtype=torch.int16, device=device)
        self.probabilities = torch.zeros(tokens, LIKELIEST, dtype=torch.float16, device=device)
        self.known = torch.zeros(tokens, dtype=torch.bool, device=device)

    @torch.no_grad()
    def ask(self, teachers: Sequence[Stack], batch: Batch) -> None:
        found = torch.stack([each.logits(each.hidden(batch.ids))[:, :-1].float().softmax(-1) for each in teachers]).mean(0)
        likeliest = found.topk(LIKELIEST, dim=-1)
        chosen = batch.learned[:, 1:]
        at = batch.at[:, 1:][chosen]
        self.ids[at] = likeliest.indices[chosen].to(torch.int16)
        self.probabilities[at] = likeliest.values[chosen].to(torch.float16)
        self.known[at] = True


def soft_loss(logits: Tensor, batch: Batch, expected: Expected | None = None, hard: float = 1.0) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy in nats, and the number of places.

    logits: (B, W, V), of which place t is of token t + 1. Where an expectation is known, `hard` is the share of the token itself.
    """
    logprobs = logits[:, :-1].float().log_softmax(-1)
    learned, targets = batch.learned[:, 1:], batch.ids[:, 1:]
    loss = -logprobs.gather(2, targets.unsqueeze(2)).squeeze(2)
    if expected is not None:
        at = batch.at[:, 1:].clamp(max=len(expected.known) - 1)
        known = expected.known[at] & (batch.at[:, 1:] < len(expected.known))
        mine = logprobs.gather(2, expected.ids[at].long())
        theirs = expected.probabilities[at].float()
        rest = (1 - theirs.sum(-1)).clamp(min=0.0)
        my_rest = (1 - mine.exp().sum(-1)).clamp(min=LEAST).log()
        soft = -(theirs * mine).sum(-1) - rest * my_rest
        loss = torch.where(known, hard * loss + (1 - hard) * soft, loss)
    return (loss * learned).sum(), learned.sum()


@torch.no_grad()
def held_out(model: Stack, rows: Rows, kind: str) -> float:
    """Mean nats a learned token."""
    model.training = False
    numbers = rows.numbers[kind]
    order = numbers[np.argsort(rows.lengths[numbers])]
    sums = [torch.zeros((), device=rows.ids.device)] * 2
    for at in range(0, len(order), 64):
        batch = rows.batch(order[at : at + 64])
        sums = [a + b for a, b in zip(sums, soft_loss(model.logits(model.hidden(batch.ids)), batch), strict=True)]
    model.training = True
    return round(float(sums[0] / sums[1]), 4)


def stack(shape: str, device: torch.device, seed: int, drop: float = 0.0) -> Stack:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return Stack(PRESETS[shape], VOCABULARY, device=device, dtype=dtype, seed=seed, drop=drop)


def learn(
    model: Stack,
    optimizers: Sequence[torch.optim.Optimizer],
    schedule: Schedule,
    steps: Iterator[np.ndarray],
    rows: Rows,
    say: Say,
    *,
    tell_s: float,
    held: Sequence[str],
    expected: Expected | None = None,
    hard: float = 1.0,
) -> None:
    """Step after step while the schedule has time; every `tell_s` seconds and at the end it tells what held-out rows cost."""
    told, tokens = time.monotonic(), 0

    def tell(**more: float) -> None:
        measured = {kind: held_out(model, rows, f"held_out_{kind}") for kind in held}
        say(step=schedule.steps, tokens=tokens, **more, **measured)

    while schedule.step(optimizers):
        batch = rows.batch(next(steps))
        loss, count = soft_loss(model.logits(model.hidden(batch.ids)), batch, expected, hard)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        model.move(optimizers)
        tokens += batch.ids.numel()
        if schedule.steps % 20 == 0:
            done = float((loss / count).detach())  # waits for the accelerator, so that the clock is right
            if time.monotonic() - told > tell_s:
                told = time.monotonic()
                tell(loss=round(done, 3))
    tell()


def teacher(rows: Rows, given: argparse.Namespace, seconds: float, number: int, say: Say) -> Stack:
    """A larger model with dropout that has learned the stories."""
    model = stack(given.teacher, rows.ids.device, 100 + number, given.dropout)
    optimizers = model.optimizers(2e-3, given.teacher_rate, given.teacher_decay)
    schedule = Schedule(seconds, level=0.3)
    steps = mixture(
        lambda: {"stories": 1.0, "books": given.books * max(0.0, 1 - 1.7 * schedule.done)}, rows, given.teacher_tokens, number
    )
    learn(model, optimizers, schedule, steps, rows, partial(say, teacher=number), tell_s=given.tell, held=("stories",))
    model.training = False
    return model


def written(teachers: Sequence[Stack], given: argparse.Namespace, seconds: float, say: Say) -> tuple[Tensor, Tensor, np.ndarray]:
    """Stories that the teachers write, each alone, while there are seconds; those that do not end are left out."""
    begun, ids, lengths = time.monotonic(), [], []
    device = next(iter(teachers[0].weights.values())).device
    number = 0
    while time.monotonic() - begun < seconds or number < len(teachers):
        whole = teachers[number % len(teachers)].written(given.stories_at_once, BOS, END, 400).cpu().numpy().astype(np.int16)
        number += 1
        for row in whole:
            ends = np.flatnonzero(row == END)
            if len(ends) and ends[0] > 40:
                ids.append(row[: ends[0] + 1])
                lengths.append(ends[0] + 1)
        say(written=len(ids), tokens=int(sum(lengths)), seconds=round(time.monotonic() - begun, 1))
    if not ids:
        raise SystemExit("the teachers' stories do not end yet: they need more time")
    flat = torch.from_numpy(np.concatenate(ids)).to(device)
    return flat, flat != BOS, np.array(lengths)


def pupil(rows: Rows, expected: Expected | None, given: argparse.Namespace, seconds: float, say: Say) -> Stack:
    """The embedded model."""
    model = stack("tiny", rows.ids.device, given.seed)
    optimizers = model.optimizers(given.rate, 2 * given.rate, given.decay)
    schedule = Schedule(seconds, level=0.35)

    def shares() -> dict[str, float]:
        late = schedule.done > 0.7
        return {
            "stories": 0.22, "written": (0.16 if late else 0.30) * (expected is not None), "pairs": 0.20 if late else 0.18,
            "more_pairs": 0.34 if late else 0.22, "copies": 0.06, "books": 0.02,
        }  # fmt: skip

    steps = mixture(shares, rows, given.tokens, given.seed)
    learn(
        model, optimizers, schedule, steps, rows, say,
        tell_s=given.tell, held=("stories", "pairs"), expected=expected, hard=given.hard,
    )  # fmt: skip
    return model


def save(model: Stack, folder: Path) -> None:
    """In bfloat16, as a Hugging Face folder with the tokenizer that made the rows."""
    whole = new_model(vocab_size=VOCABULARY, **PRESETS["tiny"])
    whole.load_state_dict({name: weight.cpu() for name, weight in model.named().items()}, strict=False)
    save_model(whole, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(PACKAGE_FOLDER / name, folder / name)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".cache/tiny"))
    parser.add_argument("--out", type=Path, default=Path(".cache/tiny/taught"))
    parser.add_argument("--prepare", type=Path, metavar="BOOKS", help="write rows.npz and end")
    parser.add_argument("--seconds", type=float, default=470)
    parser.add_argument("--teachers", type=int, default=2)
    parser.add_argument("--teacher", default="medium")
    parser.add_argument("--teacher-share", type=float, default=0.15, help="of the seconds, for each")
    parser.add_argument("--teacher-tokens", type=int, default=32768)
    parser.add_argument("--teacher-rate", type=float, default=4e-3)
    parser.add_argument("--teacher-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--books", type=float, default=0.5, help="tokens of books for one of stories, at first")
    parser.add_argument("--writing-share", type=float, default=0.06)
    parser.add_argument("--stories-at-once", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=65536)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--hard", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tell", type=float, default=15)
    given = parser.parse_args()
    file = given.cache / "rows.npz"
    if given.prepare:
        prepare(given.cache / "material", given.prepare, PACKAGE_FOLDER, file)
        return
    begun = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(given.seed)

    def say(**line: Any) -> None:
        print(json.dumps({"at": round(time.monotonic() - begun, 1), **line}), flush=True)

    rows = load(file, device)
    say(rows={kind: len(numbers) for kind, numbers in rows.numbers.items()})
    teachers = [teacher(rows, given, given.teacher_share * given.seconds, number, say) for number in range(given.teachers)]
    expected = None
    if teachers:
        more = written(teachers, given, given.writing_share * given.seconds, say)
        rows = Rows({"stories": rows.parts["stories"], "written": more} | rows.parts)
        numbers = np.concatenate([rows.numbers["stories"], rows.numbers["written"]])
        expected = Expected(int(rows.lengths[numbers].sum()), device)
        order = numbers[np.argsort(rows.lengths[numbers])]
        for at in range(0, len(order), 128):
            expected.ask(teachers, rows.batch(order[at : at + 128]))
        say(expected=int(expected.known.sum()))
    model = pupil(rows, expected, given, given.seconds - (time.monotonic() - begun), say)
    save(model, given.out)
    say(saved=str(given.out))


if __name__ == "__main__":
    main()
