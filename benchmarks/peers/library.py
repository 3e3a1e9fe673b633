"""transformers' `generate`: `python -m benchmarks.peers.library FOLDER PRECISION THREADS`.

It gets mixed prompts in padded batches of 8 sorted by length, which is its faster way.
"""

import sys
from typing import Any

from benchmarks.peers.pipe import Run, answer
from benchmarks.workloads import Workload

BATCH = 8


def run(model: Any, work: Workload) -> int:
    """Answers of a batch are all as long as its longest; only the tokens that were asked for count."""
    import torch

    order = sorted(range(len(work.prompts)), key=lambda i: len(work.prompts[i]) + work.lengths[i])
    made = 0
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        width = max(len(work.prompts[i]) for i in chosen)
        ids = torch.tensor([(0,) * (width - len(work.prompts[i])) + work.prompts[i] for i in chosen])
        mask = torch.tensor([(0,) * (width - len(work.prompts[i])) + (1,) * len(work.prompts[i]) for i in chosen])
        most = max(work.lengths[i] for i in chosen)
        with torch.inference_mode():
            out = model.generate(
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
        assert out.shape[1] == width + most
        made += sum(work.lengths[i] for i in chosen) * work.returns
    return made


def start() -> tuple[str, Run]:
    import torch
    import transformers

    folder, precision, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, precision)).eval()
    return f"transformers {transformers.__version__}", lambda work: run(model, work)


if __name__ == "__main__":
    answer(start)
