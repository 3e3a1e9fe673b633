"""A workspace of 100,000 samples with 10 completions each: how long lists, filters, counts and searches take, and by which index.

    python -m benchmarks.store_scale FILE [--samples 100000] [--rounds 9] [--cold] [--counts]

Makes FILE when it is not there. Prints medians in milliseconds: warm, and with --cold also the first run of a new connection
after the operating system was told to forget the file; each by the clock and, behind it, of the processor, which is what tells
something on a busy machine. With --counts each filter's count is compared with the same filter asked of plain tuples. --only
WORDS asks only those whose names have the words.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ramify.store import Database, NewCompletion, SpanRecord, TokenLogprob
from ramify.store.tables import completion_bodies, completions, logprobs, ratings

PER_SAMPLE = 10
MODELS = [("tiny", 0.45), ("hf:base", 0.35), ("openai:big", 0.15), ("tuned", 0.049), ("rare", 0.001)]
REASONS = [("eos", 0.9), ("length", 0.08), ("stop", 0.02)]
WORDS = [
    f"{a}{b}{c}"
    for a in ("ka", "lo", "mi", "ne", "ru", "so", "ta", "vi", "we", "yo")
    for b in "bdfglmnprst"
    for c in ("a", "en", "ish", "or", "um", "al", "ek", "i")
]


class Texts:
    """Prose of realistic length: about 100 words by Zipf's law; "hedgehog" in a tenth, "zymurgy" in one of 10,000."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        weights = [1 / (rank + 2) for rank in range(len(WORDS))]
        self.sentences = [
            " ".join(self.random.choices(WORDS, weights, k=self.random.randint(6, 16))) + "." for _ in range(20_000)
        ]

    def draw(self) -> str:
        text = " ".join(self.random.choices(self.sentences, k=self.random.randint(3, 15)))
        if self.random.random() < 0.1:
            text += " A hedgehog came by."
        if self.random.random() < 0.0001:
            text += " It spoke of zymurgy."
        return text + " The end" * (self.random.random() < 0.9)


def measured(rng: random.Random) -> tuple[tuple[int, ...], tuple[TokenLogprob, ...]]:
    tokens = tuple(
        TokenLogprob(
            token_id=i,
            token_bytes=WORDS[i].encode(),
            logprob=-rng.expovariate(1.2),
            rank=rng.randint(1, 9),
            entropy=rng.random() * 4,
        )
        for i in (rng.randrange(len(WORDS)) for _ in range(rng.randint(40, 200)))
    )
    return tuple(token.token_id for token in tokens), tokens


def build(db: Database, samples: int) -> None:
    started, texts, rng = time.perf_counter(), Texts(1), random.Random(2)
    pool = [measured(rng) for _ in range(400)]
    db.facets.add("legal", good_rating=8)
    db.facets.add("stories")
    db.tags.add("checked")
    for first in range(0, samples, 1000):
        rows = [(texts.draw(), f"Sample {i}", f"group{i % 20}/part{i % 7}") for i in range(first, min(first + 1000, samples))]
        ids = db.samples.add_many(rows)
        fresh = []
        for sample_id in ids:
            for _ in range(PER_SAMPLE):
                (model,) = rng.choices([name for name, _ in MODELS], [share for _, share in MODELS])
                (reason,) = rng.choices([name for name, _ in REASONS], [share for _, share in REASONS])
                token_ids, tokens = rng.choice(pool)
                fresh.append(
                    (
                        sample_id,
                        NewCompletion(
                            text=texts.draw(),
                            model=model,
                            finish_reason=reason,
                            token_ids=token_ids,
                            logprobs=tokens,
                            spans=[SpanRecord(0, len(token_ids), "sampled")],
                            config={"temperature": 0.8, "max_new_tokens": 200},
                            seed=rng.randrange(1 << 31),
                        ),
                    )
                )
        made = db.completions.add_many(fresh)
        for rating in range(1, 11):
            db.judgements.rate_many([i for i in made if i % 30 == rating], "legal", rating)
        db.judgements.rate_many([i for i in made if i % 2 == 0], "stories", 7)
        db.completions.archive([i for i in made if i % 100 == 99])
        if first % 10_000 == 0:
            print(f"{first + len(rows)} samples, {time.perf_counter() - started:.0f} s", flush=True)
    db.tidy()
    print(f"made in {time.perf_counter() - started:.0f} s, {os.path.getsize(db.where) / 1e9:.2f} GB")


def both(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"all": list(parts)}


def where(field: str, op: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value, **more}


RATED = where("rating", ">=", 8, facet="legal")
FILTERS: dict[str, dict[str, Any]] = {
    "0.01 %: rare model, rated >= 8 or = 7 in stories, eos": both(
        where("model", "is", "rare"),
        {"any": [RATED, where("rating", "=", 10, facet="legal")]},
        where("finish_reason", "is", "eos"),
    ),
    "0.01 %: word, not tiny, eos": both(
        where("text", "matches", "zymurgy"), {"not": where("model", "is", "tiny")}, where("finish_reason", "is", "eos")
    ),
    "0.02 %: length, tuned, rated 3": both(
        where("finish_reason", "is", "length"), where("model", "is", "tuned"), where("rating", "=", 3, facet="legal")
    ),
    "0.1 %: rated 9, hedgehog, base": both(
        where("rating", "=", 9, facet="legal"), where("text", "matches", "hedgehog"), where("model", "is", "hf:base")
    ),
    "10 %: rated >= 8, eos, logprob": both(RATED, where("finish_reason", "is", "eos"), where("mean_logprob", ">=", -1.0)),
    "10 %: hedgehog, eos, not rare": both(
        where("text", "matches", "hedgehog"), where("finish_reason", "is", "eos"), {"not": where("model", "is", "rare")}
    ),
    "90 %: end, not rare, logprob > -9": both(
        where("text", "matches", '"the end"'), {"not": where("model", "is", "rare")}, where("min_logprob", ">", -20)
    ),
    "90 %: not rated 1, (eos or stop), tokens": both(
        {"not": where("rating", "=", 1, facet="legal")},
        {"any": [where("finish_reason", "is", "eos"), where("finish_reason", "is", "stop")]},
        where("tokens", ">=", 20),
    ),
    "none": both(where("model", "is", "rare"), where("rating", "=", 4, facet="legal"), where("text", "matches", "zymurgy")),
}


def brute_force(db: Database) -> dict[str, int]:
    """The same questions asked of tuples in Python."""
    with db.reading() as connection:
        models = {row[0]: row[1] for row in connection.exec_driver_sql("SELECT id, name FROM models")}
        legal: dict[int, int] = {}
        for completion_id, rating in connection.execute(
            ratings.select().with_only_columns(ratings.c.completion_id, ratings.c.rating).where(ratings.c.facet_id == 1)
        ):
            legal[completion_id] = rating
        columns = [
            completions.c[name] for name in ("id", "model_id", "finish_reason", "mean_logprob", "min_logprob", "token_count")
        ]
        query = completions.join(completion_bodies, completion_bodies.c.id == completions.c.id)
        found = dict.fromkeys(FILTERS, 0)
        rows = connection.execution_options(yield_per=20_000).execute(
            query.select().with_only_columns(*columns, completion_bodies.c.text).where(completions.c.archived.is_(False))
        )
        for row in rows:
            i, model_id, reason, mean, low, tokens, text = tuple(row)
            model, rating, eos = models[model_id], legal.get(i, 0), reason == "eos"
            answers = (
                model == "rare" and rating >= 8 and eos,
                "zymurgy" in text and model != "tiny" and eos,
                reason == "length" and model == "tuned" and rating == 3,
                rating == 9 and "hedgehog" in text and model == "hf:base",
                rating >= 8 and eos and mean >= -1.0,
                "hedgehog" in text and eos and model != "rare",
                "The end" in text and model != "rare" and low > -20,
                rating != 1 and reason != "length" and tokens >= 20,
                model == "rare" and rating == 4 and "zymurgy" in text,
            )
            for name, true in zip(FILTERS, answers, strict=True):
                found[name] += true
    return found


def questions(db: Database) -> dict[str, Callable[[], Any]]:
    last = db.search.completion_ids(limit=50).ids[-1]
    asked: dict[str, Callable[[], Any]] = {
        "list samples": lambda: db.samples.list(limit=50),
        "list samples of a group": lambda: db.samples.list(group="group3", limit=50),
        "list completions": lambda: db.search.completions(limit=50),
        "list completions, page in the middle": lambda: db.search.completions(limit=50, after=(last // 2, last // 2)),
        "list completions by mean logprob": lambda: db.search.completions(limit=50, order="mean_logprob"),
        "completions of a sample": lambda: db.completions.of(777),
        "search a rare word": lambda: db.search.text("zymurgy"),
        "search a word of 10 %": lambda: db.search.text("hedgehog"),
        "search a phrase of 90 %": lambda: db.search.text('"the end"'),
        "search a word and not another": lambda: db.search.text("hedgehog -zymurgy"),
    }
    for name, data in FILTERS.items():
        asked[f"filter completions, {name}"] = lambda data=data: db.search.completions(data, limit=50)  # type: ignore[misc]
        asked[f"filter samples, {name}"] = lambda data=data: db.search.samples(data, limit=50)  # type: ignore[misc]
    return asked


def forget(path: Path) -> None:
    """Ask the operating system to drop the file's pages."""
    for file in (path, Path(f"{path}-wal")):
        if file.exists():
            with file.open("rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(ask: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds by the clock, and of the processor."""
    started, used = time.perf_counter(), time.process_time()
    ask()
    return (time.perf_counter() - started) * 1000, (time.process_time() - used) * 1000


def medians(times: list[tuple[float, float]]) -> str:
    clock, processor = (statistics.median(each) for each in zip(*times, strict=True))
    return f"{clock:8.1f} ({processor:6.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if not options.file.exists():
        with Database.open(options.file) as db:
            build(db, options.samples)
    for how in ["cold", "warm"] if options.cold else ["warm"]:
        if how == "cold":
            forget(options.file)
        started = time.perf_counter()
        db = Database.open(options.file)
        print(f"open, {how}: {(time.perf_counter() - started) * 1000:.0f} ms")
        if how == "cold":
            db.close()
    for name, ask in questions(db).items():
        if options.only not in name:
            continue
        ask()
        warm = medians([timed(ask) for _ in range(options.rounds)])
        cold = ""
        if options.cold:
            firsts = []
            for _ in range(options.rounds // 3 or 1):
                db.close()
                forget(options.file)
                db = Database.open(options.file)
                ask_cold = questions_of(db, name)
                db.close()
                forget(options.file)
                firsts.append(timed(ask_cold))
            cold = f"  cold {medians(firsts)}"
        print(f"{warm} ms{cold}  {name}", flush=True)
    if options.counts:
        expected = brute_force(db)
        for name, data in FILTERS.items():
            ms = medians([timed(lambda data=data: db.search.count_completions(data)) for _ in range(3)])  # type: ignore[misc]
            print(f"{ms} ms  count {name}: {db.search.count_completions(data)}, by brute force {expected[name]}", flush=True)
            assert db.search.count_completions(data) == expected[name]
    with db.reading() as connection:
        (total, size), *_ = connection.exec_driver_sql(
            f"SELECT sum(token_count), sum(length(measures)) FROM {logprobs.name}"
        ).all()
        print(f"{total} tokens measured, {size / total:.2f} bytes a token")
    db.close()


def questions_of(db: Database, name: str) -> Callable[[], Any]:
    return questions(db)[name]


if __name__ == "__main__":
    main()
