"""Ramify beside transformers' `generate`, interleaved in one run; medians of output tokens per second, and their ratio.

    python -m benchmarks [--rounds 3] [--precision int8] [--peer-precision bfloat16] [--only TEXT] [--out FILE]

Both sides run the same random weights of Qwen2-0.5B's shape, never stop early, and sample or search alike. transformers gets the
mixed prompts in padded batches of 8 sorted by length, which is its faster way.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

import ramify
from benchmarks.qwen_shape import folder
from benchmarks.workloads import WORKLOADS, Workload

PEER_BATCH = 8


def ours(model: Any, work: Workload) -> None:
    """Everything submitted at once, as a server's clients would."""
    settings: dict[str, Any] = {"ignore_eos": True, "logprobs": None}
    if work.beams > 1:
        settings["num_beams"] = work.beams
    if work.returns > 1:
        settings |= {"do_sample": True, "seed": 0, "n": work.returns}
    handles = [
        model.submit(model.request(list(prompt), max_new_tokens=length, **settings))
        for prompt, length in zip(work.prompts, work.lengths, strict=True)
    ]
    made = sum(len(result.token_ids) for handle in handles for result in handle.future.result())
    assert made == work.tokens_out, f"{made} tokens instead of {work.tokens_out}"


@torch.inference_mode()
def theirs(model: Any, work: Workload) -> None:
    order = sorted(range(len(work.prompts)), key=lambda i: len(work.prompts[i]) + work.lengths[i])
    for start in range(0, len(order), PEER_BATCH):
        chosen = order[start : start + PEER_BATCH]
        width = max(len(work.prompts[i]) for i in chosen)
        ids = torch.tensor([(0,) * (width - len(work.prompts[i])) + work.prompts[i] for i in chosen])
        mask = torch.tensor([(0,) * (width - len(work.prompts[i])) + (1,) * len(work.prompts[i]) for i in chosen])
        most = max(work.lengths[i] for i in chosen)
        model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=most,
            min_new_tokens=most,
            do_sample=work.returns > 1,
            top_k=0,
            num_beams=work.beams,
            num_return_sequences=work.returns,
            pad_token_id=0,
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3, help="counted runs of each, after one that is not")
    arguments.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16", "int8"], help="ours")
    arguments.add_argument("--peer-precision", default="bfloat16", choices=["float32", "bfloat16"])
    arguments.add_argument("--only", default="", help="workloads whose name contains this")
    arguments.add_argument("--out", type=Path, help="write the table there too")
    given = arguments.parse_args()

    path = folder(Path(".cache"))
    mine = ramify.load(str(path), precision=given.precision)
    peer = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, given.peer_precision)).eval()
    forget: Callable[[], object] = lambda: mine.on_engine(mine.engine.tree.clear).result()  # noqa: E731
    lines = [
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, {given.precision} against {given.peer_precision}; "
        f"output tokens per second, median of {given.rounds}",
        "",
        "| workload | Ramify | transformers | ratio |",
        "|---|---|---|---|",
    ]
    for work in (w for w in WORKLOADS if given.only in w.name):
        speeds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for round_ in range(given.rounds + 1):
            for name, run in (("ours", lambda w=work: ours(mine, w)), ("theirs", lambda w=work: theirs(peer, w))):
                forget()
                begun = time.perf_counter()
                run()
                took = time.perf_counter() - begun
                if round_:
                    speeds[name].append(work.tokens_out / took)
        us, them = statistics.median(speeds["ours"]), statistics.median(speeds["theirs"])
        lines.append(f"| {work.name} | {us:.1f} | {them:.1f} | {us / them:.2f} |")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
