"""A million Alpaca rows in and out: rows a second and the most memory, beside `datasets.load_dataset` and a plain write.

    python -m benchmarks.exchange_scale FOLDER [--rows 1000000] [--peer]

Each part runs in a process of its own, so that its memory is its own. With --peer only the other side runs.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

SENTENCE = "the a small red house river stone bird sings under old tree and who knows why it rains so often here in spring"
WORDS = SENTENCE.split()


def make(path: Path, rows: int) -> None:
    rng = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            words = rng.choices(WORDS, k=rng.randint(25, 60))
            row = {
                "instruction": f"{number}: {' '.join(words[:10])}",
                "input": " ".join(words[10:14]) if number % 3 == 0 else "",
                "output": " ".join(words[14:]) + ".",
            }
            file.write(json.dumps(row) + "\n")


def bring_in(folder: Path) -> int:
    from ramify.exchange.importing import import_files
    from ramify.store import Database

    (folder / "w.ramify").unlink(missing_ok=True)
    with Database.open(folder / "w.ramify") as database:
        return import_files(database, [str(folder / "rows.jsonl")]).completions_added


def take_out(folder: Path) -> int:
    from ramify.exchange.exporting import export
    from ramify.exchange.templates import ExportTemplate
    from ramify.store import Database

    with Database.open(folder / "w.ramify") as database:
        return export(database, ExportTemplate(kind="sft", form="alpaca"), folder / "out.jsonl", overwrite=True).rows


def peer(folder: Path) -> int:
    import datasets

    found = datasets.load_dataset("json", data_files=str(folder / "rows.jsonl"), split="train", cache_dir=str(folder / "cache"))
    with (folder / "peer.jsonl").open("w", encoding="utf-8") as file:
        for row in found:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(found)


PARTS = {"import": bring_in, "export": take_out, "load_dataset and a plain write": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--part", choices=PARTS)
    chosen = parser.parse_args()
    if chosen.part:
        started, cpu = time.perf_counter(), time.process_time()
        rows = PARTS[chosen.part](chosen.folder)
        wall, used = time.perf_counter() - started, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = f"{chosen.part}: {rows} rows in {wall:.0f} s ({used:.0f} s of CPU), {rows / wall:.0f} rows/s"
        print(f"{told} ({rows / used:.0f} per CPU second), at most {peak:.0f} MB", flush=True)
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if not (chosen.folder / "rows.jsonl").exists():
        make(chosen.folder / "rows.jsonl", chosen.rows)
    for part in list(PARTS)[2 if chosen.peer else 0 :]:
        arguments = [sys.executable, "-m", "benchmarks.exchange_scale", str(chosen.folder), "--part", part]
        subprocess.run(arguments, check=True)


if __name__ == "__main__":
    main()
