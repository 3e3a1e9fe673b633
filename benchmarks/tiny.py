"""What `tiny` costs in this process: a pick, a step of few and of many rows, and the same row in transformers' `generate`.

    python -m benchmarks.tiny [--rounds 5] [--rows 1 8 32 64]

Greedy, never ending early, in float32. A step is what one more token of every row costs: the difference between long and short
completions of equal prompts, so that prompts and the call itself do not count. CPU time is the process's; by the clock with the
threads that torch takes. Rounds are interleaved; medians.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import ramify
from benchmarks.servers import TINY
from ramify.workbench.workspace import Workspace

SHORT, LONG = 8, 40
PICKS = 60


def prompt_of(i: int) -> str:
    return f"Once upon a time, a little fox number {i} found a shiny"


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    clock, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - cpu


def steps(run: Callable[[int], object]) -> tuple[float, float]:
    """What a token more takes, by the clock and of the processors. run(n): completions of n tokens."""
    (short, short_cpu), (long, long_cpu) = timed(lambda: run(SHORT)), timed(lambda: run(LONG))
    return (long - short) / (LONG - SHORT), (long_cpu - short_cpu) / (LONG - SHORT)


def ours(model: Any, rows: int, turn: int) -> Callable[[int], object]:
    def run(new: int) -> None:
        prompts = [prompt_of(1000 * turn + i) for i in range(rows)]
        model.batch(prompts, max_new_tokens=new, temperature=0, ignore_eos=True, logprobs=None)

    return run


def theirs(peer: Any, ids: list[int]) -> Callable[[int], object]:
    given = torch.tensor([ids])

    @torch.inference_mode()
    def run(new: int) -> None:
        asked = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        peer.generate(given, attention_mask=torch.ones_like(given), **asked)

    return run


def picks(folder: Path) -> list[float]:
    """Seconds of each pick: the token appended, and the twenty likeliest after it."""
    found = []
    with Workspace.open(folder / "picks.ramify") as workspace:
        sample = workspace.database.samples.add(prompt_of(0))
        with workspace.token_by_token(sample, model="tiny") as session:
            next_one = session.candidates(20).shown[0]
            for _ in range(PICKS):
                began = time.perf_counter()
                session.pick(next_one.token_id)
                next_one = next(each for each in session.candidates(20).shown if not each.ends)
                found.append(time.perf_counter() - began)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 64])
    given = arguments.parse_args()

    from transformers import AutoModelForCausalLM

    peer = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {given.rounds} rounds, {LONG - SHORT} steps each\n")
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with ramify.load("tiny", precision="float32") as model:
        ids = list(model.codec.encode(prompt_of(0), special=True))
        for turn in range(given.rounds + 1):
            for rows in given.rows:
                cost = steps(ours(model, rows, turn))
                if turn:
                    found[f"{rows}"].append(cost)
            cost = steps(theirs(peer, ids))
            if turn:
                found["1, transformers"].append(cost)
    print("| rows | ms a step | tokens/s | times one row | CPU ms a step |\n|---|---|---|---|---|")
    one = statistics.median(clock for clock, _ in found[str(given.rows[0])])
    for name, costs in found.items():
        rows = int(name.split(",")[0])
        clock, cpu = (statistics.median(each[i] for each in costs) for i in (0, 1))
        print(f"| {name} | {1000 * clock:.2f} | {rows / clock:.0f} | {rows / clock * one:.2f} | {1000 * cpu:.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        took = sorted(picks(Path(folder)))
    print(f"\na pick: median {1000 * statistics.median(took):.1f} ms, 95 % {1000 * took[int(0.95 * len(took))]:.1f} ms")


if __name__ == "__main__":
    main()
