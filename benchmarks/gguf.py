"""A GGUF file in Ramify beside llama.cpp itself, interleaved in one run; medians of output tokens per second, and their ratio.

    python -m benchmarks.gguf [--rounds 5] [--type q8_0] [--threads 2] [--only TEXT] [--out FILE]

The file is made here of random weights of Qwen2-0.5B's shape. llama.cpp is used by its own C functions: one context with its
default cache, the prompt in one call, then one call a token and its own greedy sampler; many prompts are sequences of
one batch, completions of one prompt are copies of its sequence. It has no beams to measure.
"""

import argparse
import ctypes
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import ramify
from benchmarks.__main__ import ours
from benchmarks.qwen_shape import folder
from benchmarks.workloads import WORKLOADS, Workload

CACHE = Path(".cache")
CELLS = 16_384


class LlamaCpp:
    """llama.cpp by itself: what its own programs do, without anything of ours."""

    def __init__(self, file: Path, threads: int) -> None:
        import llama_cpp

        self.lib = lib = llama_cpp
        self.model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
        given = lib.llama_context_default_params()
        given.n_ctx, given.n_batch, given.n_ubatch, given.n_seq_max = CELLS, 2048, 512, 64
        given.n_threads = given.n_threads_batch = threads
        given.kv_unified = given.no_perf = True
        self.context = lib.llama_init_from_model(self.model, given)
        self.memory = lib.llama_get_memory(self.context)
        self.batch = lib.llama_batch_init(2048, 0, 1)
        self.sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(self.sampler, lib.llama_sampler_init_greedy())

    def run(self, work: Workload) -> None:
        """Every prompt in turn, then all rows together, each to its length."""
        lib = self.lib
        lib.llama_memory_clear(self.memory, False)
        rows: dict[int, list[int]] = {}  # sequence: [next token, position, tokens to go]
        for prompt, length in zip(work.prompts, work.lengths, strict=True):
            first = len(rows)
            for start in range(0, len(prompt), 512):
                piece = prompt[start : start + 512]
                ends = start + len(piece) == len(prompt)
                self._decode([(t, start + i, first, ends and i == len(piece) - 1) for i, t in enumerate(piece)])
            token = lib.llama_sampler_sample(self.sampler, self.context, -1)
            for sequence in range(first, first + work.returns):
                if sequence > first:
                    lib.llama_memory_seq_cp(self.memory, first, sequence, -1, -1)
                rows[sequence] = [token, len(prompt), length - 1]
        while rows := {sequence: row for sequence, row in rows.items() if row[2] > 0}:
            self._decode([(token, position, sequence, True) for sequence, (token, position, _) in rows.items()])
            for i, row in enumerate(rows.values()):
                row[:] = lib.llama_sampler_sample(self.sampler, self.context, i), row[1] + 1, row[2] - 1

    def _decode(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = ctypes.c_int32(sequence)
        failed = self.lib.llama_decode(self.context, batch)
        assert not failed, f"llama_decode answered {failed}"


def made(type: str) -> Path:
    """The file, written once under `.cache`."""
    from ramify.models.convert_gguf import convert
    from ramify.models.registry import Registry

    file = CACHE / f"qwen2-0.5b-shape-{type}.gguf"
    if not file.exists():
        print(convert(Registry().resolve(str(folder(CACHE))), file, type=type).check)
    return file


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5, help="counted runs of each, after one that is not")
    arguments.add_argument("--type", default="q8_0", choices=["float32", "float16", "bfloat16", "q8_0"])
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--only", default="", help="workloads whose name contains this")
    arguments.add_argument("--out", type=Path, help="write the table there too")
    given = arguments.parse_args()

    file = made(given.type)
    torch.set_num_threads(given.threads)
    mine = ramify.load(f"gguf:{file}")
    peer = LlamaCpp(file, given.threads)
    forget: Callable[[], object] = lambda: mine.on_engine(mine.engine.tree.clear).result()  # noqa: E731
    lines = [
        f"{platform.machine()}, {given.threads} threads, llama-cpp-python {peer.lib.__version__}, {given.type}; "
        f"output tokens per second, median of {given.rounds}",
        "",
        "| workload | Ramify | llama.cpp | ratio |",
        "|---|---|---|---|",
    ]
    for work in (w for w in WORKLOADS if given.only in w.name and w.beams == 1):
        speeds: dict[str, list[float]] = {"ours": [], "theirs": []}
        runs: tuple[tuple[str, Callable[[Any], None]], ...] = (("ours", lambda w: ours(mine, w)), ("theirs", peer.run))
        for round_ in range(given.rounds + 1):
            for name, run in runs if round_ % 2 else runs[::-1]:
                forget()
                begun = time.perf_counter()
                run(work)
                if round_:
                    speeds[name].append(work.tokens_out / (time.perf_counter() - begun))
        us, them = statistics.median(speeds["ours"]), statistics.median(speeds["theirs"])
        lines.append(f"| {work.name} | {us:.1f} | {them:.1f} | {us / them:.2f} |")
        print(lines[-1], *(f"{name} {[round(v, 1) for v in seen]}" for name, seen in speeds.items()), flush=True)
    print("\n" + "\n".join(lines))
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
