"""What a precision costs in quality and gives in speed, beside float32, on trained models.

    python -m benchmarks.precision TEXTS.jsonl MODEL... [--precision int8] [--texts 60]

TEXTS has a story a line under "text". Quality: perplexity, and the share of positions whose likeliest token stays. Speed: tokens
per second of one forward pass a token, for 1, 8 and 32 rows, both precisions in turn, medians. Company: the largest change of a
logit between a row alone and the same row among 32, and how often the likeliest token changes.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import ramify
from ramify.models.base import Extension

WINDOW = 400


def logits_of(backend: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """The logits (T, V) of every position of several texts, in one pass."""
    branches = [backend.root() for _ in rows]
    out = backend.extend([Extension(branch, ids, len(ids)) for branch, ids in zip(branches, rows, strict=True)])
    found = [out[i].clone() for i in range(len(rows))]
    for branch in branches:
        backend.free(branch)
    return found


def quality(exact: Any, coarse: Any, texts: Sequence[str]) -> tuple[float, float, float]:
    """(perplexity, the other's perplexity, share of likeliest tokens kept)."""
    sums, kept, count = [0.0, 0.0], 0, 0
    for text in texts:
        ids = exact.codec.encode(text)[:WINDOW]
        if exact.info.bos_token_id is not None and ids[:1] != [exact.info.bos_token_id]:
            ids = [exact.info.bos_token_id, *ids]
        pair = [logits_of(backend, [ids])[0][:-1] for backend in (exact, coarse)]
        target = torch.tensor(ids[1:])
        for i, logits in enumerate(pair):
            sums[i] += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
        kept += int((pair[0].argmax(-1) == pair[1].argmax(-1)).sum())
        count += len(target)
    first, second = (float(torch.tensor(total / count).exp()) for total in sums)
    return first, second, kept / count


def company(backend: Any, texts: Sequence[str]) -> tuple[float, float]:
    """(largest difference of a logit, share of likeliest tokens changed) between a row alone and among 32.

    Every text is read, forked at half, and decoded on in single tokens: once alone, once all rows together.
    """
    rows = [backend.codec.encode(text)[:48] for text in texts[:32]]

    def decoded(chosen: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        trunks = [backend.root() for _ in chosen]
        found = [backend.extend([Extension(t, ids[:32], 32) for t, ids in zip(trunks, chosen, strict=True)]).logits.clone()]
        branches = [backend.fork(trunk, 16) for trunk in trunks]
        for at in range(16, 24):
            found.append(
                backend.extend([Extension(b, [ids[at]]) for b, ids in zip(branches, chosen, strict=True)]).logits.clone()
            )
        for branch in (*trunks, *branches):
            backend.free(branch)
        pieces = [piece.view(len(chosen), -1, piece.shape[-1]) for piece in found]
        return list(torch.cat(pieces, dim=1))

    worst, changed, count = 0.0, 0, 0
    for ids, among in zip(rows, decoded(rows), strict=True):
        alone = decoded([ids])[0]
        finite = torch.isfinite(alone)
        worst = max(worst, float((alone - among)[finite].abs().max()))
        changed += int((alone.argmax(-1) != among.argmax(-1)).sum())
        count += len(alone)
    return worst, changed / count


def steps_per_second(backend: Any, rows: int, *, steps: int = 24) -> float:
    """Tokens per second of decoding `rows` branches in step."""
    branches = [backend.root() for _ in range(rows)]
    backend.extend([Extension(branch, [5 + i % 50] * 16) for i, branch in enumerate(branches)])
    started = time.perf_counter()
    for step in range(steps):
        backend.extend([Extension(branch, [7 + step]) for branch in branches])
    seconds = time.perf_counter() - started
    for branch in branches:
        backend.free(branch)
    return rows * steps / seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("texts", type=Path)
    arguments.add_argument("models", nargs="+")
    arguments.add_argument("--precision", default="int8")
    arguments.add_argument("--count", type=int, default=60, help="texts to read")
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    with given.texts.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for _, line in zip(range(given.count), file, strict=False)]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.precision} beside float32, {len(texts)} texts\n")
    for name in given.models:
        exact, coarse = (ramify.load(name, precision=precision).engine.backend for precision in ("float32", given.precision))
        first, second, kept = quality(exact, coarse, texts)
        print(f"{name}: perplexity {first:.4f} -> {second:.4f} ({second / first - 1:+.2%}), likeliest token kept {kept:.2%}")
        for label, backend in (("float32", exact), (given.precision, coarse)):
            worst, changed = company(backend, texts)
            print(f"  {label}: alone against among 32: logits within {worst:.1e}, likeliest token changed {changed:.3%}")
        for rows in (1, 8, 32):
            speeds: list[list[float]] = [[], []]
            for _ in range(given.rounds):
                for i, backend in enumerate((exact, coarse)):
                    speeds[i].append(steps_per_second(backend, rows))
            float32, other = map(statistics.median, speeds)
            print(f"  {rows} rows: {float32:.0f} -> {other:.0f} tokens/s ({other / float32:.2f} x)")


if __name__ == "__main__":
    main()
