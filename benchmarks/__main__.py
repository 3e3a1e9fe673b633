"""Ramify beside its peers, interleaved in one run, each in a process of its own; medians of output tokens per second, and ratios.

    python -m benchmarks [--rounds 3] [--only TEXT] [--with int8,openvino] [--shorter 4] [--threads 2] [--out FILE]

All run the same random weights of Qwen2-0.5B's shape, never stop early, and sample or search alike. A peer that is not installed
is left out, and the reason said; `benchmarks/peers/` says how to install each. Before the counted rounds each answers a shorter
form, uncounted; in each round they take turns, every other round backwards. On a shared machine take `--threads 1` and read the
tokens a CPU second: several threads wait for each other in a loop. `--shorter 4` fits a slow machine; proportions stay.
"""

import argparse
import contextlib
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.pipe import Contender, Took, UnableError, contender
from benchmarks.workloads import WORKLOADS, Workload

CACHE = Path(".cache")
WARM = 8
"""The uncounted answer is this much shorter."""
OURS = ("float32", "bfloat16", "int8", "gguf")
PEERS = ("transformers", "transformers-bf16", "openvino", "llama.cpp")
STANDARD = ("float32", "int8", "gguf", "transformers", "openvino", "llama.cpp")

Starter = Callable[[], contextlib.AbstractContextManager[Contender]]


def starters(names: list[str], type: str, threads: int, peers: str) -> dict[str, Starter]:
    """How each is started. type: of the GGUF file's weights. peers: the interpreter that OpenVINO is installed for."""
    from benchmarks.qwen_gguf import file
    from benchmarks.qwen_shape import folder

    path, count = str(folder(CACHE)), str(threads)
    found: dict[str, Starter] = {}
    for name in names:
        if name in ("float32", "bfloat16", "int8"):
            found[name] = lambda name=name: contender("ours", [path, name, count])
        elif name == "gguf":
            found[f"gguf {type}"] = lambda: contender("ours", [f"gguf:{file(CACHE, type)}", "stored", count])
        elif name.startswith("transformers"):
            precision = "bfloat16" if name.endswith("bf16") else "float32"
            found[f"transformers {precision}"] = lambda precision=precision: contender("library", [path, precision, count])
        elif name == "openvino":
            found["OpenVINO int8"] = lambda: contender("genai", [path, count], python=peers)
        else:
            found[f"llama.cpp {type}"] = lambda: contender("llama", [str(file(CACHE, type)), count])
    return found


def compare(starters: dict[str, Starter], works: list[Workload], rounds: int, heading: str) -> list[str]:
    """Run them and print as they come; returns the lines of the tables."""
    with contextlib.ExitStack() as opened:
        running: dict[str, Contender] = {}
        notes = []
        for name, start in starters.items():
            try:
                running[name] = opened.enter_context(start())
                notes.append(f"{name}: {running[name].about}")
            except (UnableError, RuntimeError, ImportError) as error:
                notes.append(f"{name} is left out: {error}")
            print(notes[-1], file=sys.stderr, flush=True)
        seen = {work.name: _measured(running, work, rounds) for work in works}
    ours = [name for name in running if name.startswith(OURS)]
    theirs = [name for name in running if name not in ours]
    wall = {w.name: {n: _median(w, t, "wall_s") for n, t in seen[w.name].items()} for w in works}
    cpu = {w.name: {n: _median(w, t, "cpu_s") for n, t in seen[w.name].items()} for w in works}
    return [
        heading,
        *notes,
        "",
        *_table("tokens/s", wall, [*running]),
        "",
        *_table("tokens/CPU s", cpu, [*running]),
        "",
        *_ratios(wall, cpu, ours, theirs),
    ]


def _measured(running: dict[str, Contender], work: Workload, rounds: int) -> dict[str, list[Took]]:
    seen: dict[str, list[Took]] = {}
    able = []
    for name, each in running.items():
        try:
            each.ask(work.shorter(WARM))
            able.append(name)
        except UnableError as error:
            print(f"{work.name}: {name}: {error}", file=sys.stderr)
    for round_ in range(rounds):
        for name in able if round_ % 2 == 0 else able[::-1]:
            took = running[name].ask(work)
            seen.setdefault(name, []).append(took)
            speed = f"{work.tokens_out / took.wall_s:.1f} tokens/s, {work.tokens_out / took.cpu_s:.1f} a CPU second"
            print(f"{work.name}: {name}: {speed}; others had {took.others:.0%} of the machine", file=sys.stderr, flush=True)
    return seen


def _median(work: Workload, took: list[Took], unit: str) -> float:
    return statistics.median(work.tokens_out / getattr(t, unit) for t in took)


def _table(unit: str, found: dict[str, dict[str, float]], names: list[str]) -> list[str]:
    lines = [f"| {unit} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return lines + [
        f"| {work} | {' | '.join(f'{speeds[n]:.1f}' if n in speeds else '–' for n in names)} |" for work, speeds in found.items()
    ]


def _ratios(wall: dict[str, dict[str, float]], cpu: dict[str, dict[str, float]], ours: list[str], theirs: list[str]) -> list[str]:
    lines = [f"| times (by CPU time) | {' | '.join(f'against {peer}' for peer in theirs)} |", "|---" * (len(theirs) + 1) + "|"]
    for work, speeds in wall.items():
        for mine in (m for m in ours if m in speeds):
            cells = [
                f"{speeds[mine] / speeds[peer]:.2f} ({cpu[work][mine] / cpu[work][peer]:.2f})" if peer in speeds else "–"
                for peer in theirs
            ]
            lines.append(f"| {work}: {mine} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3, help="counted runs of each, after a short one that is not")
    arguments.add_argument("--with", dest="names", default=",".join(STANDARD), help=f"some of {', '.join(OURS + PEERS)}")
    arguments.add_argument("--only", default="", help="workloads whose name contains one of these, as in single,beams")
    arguments.add_argument("--shorter", type=int, default=1, metavar="N", help="prompts and answers an N-th as long")
    arguments.add_argument("--type", default="q8_0", choices=["float32", "float16", "bfloat16", "q8_0"], help="of GGUF's weights")
    arguments.add_argument("--threads", type=int, default=2, help="of each contender")
    arguments.add_argument("--peers", default=str(CACHE / "peers/bin/python"), help="the interpreter that has openvino-genai")
    arguments.add_argument("--out", type=Path, help="write the tables there too")
    given = arguments.parse_args()
    names = given.names.split(",")
    if unknown := set(names) - {*OURS, *PEERS}:
        arguments.error(f"--with names {', '.join(sorted(unknown))}; there are {', '.join(OURS + PEERS)}")
    works = [work.shorter(given.shorter) for work in WORKLOADS if any(part in work.name for part in given.only.split(","))]
    if not works:
        arguments.error(f"--only is {given.only!r}; there are {'; '.join(work.name for work in WORKLOADS)}")
    heading = f"{platform.machine()}, {given.threads} threads; output tokens, median of {given.rounds} rounds"
    lines = compare(starters(names, given.type, given.threads, given.peers), works, given.rounds, heading)
    print("\n".join(lines))
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
