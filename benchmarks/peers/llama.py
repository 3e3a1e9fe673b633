"""llama.cpp by its own C functions: `python -m benchmarks.peers.llama FILE THREADS` (llama-cpp-python, our extra `gguf`).

One context with its default cache, the prompt in one call, then one call a token and its own greedy sampler; many prompts are
sequences of one batch, completions of one prompt are copies of its sequence. It has no beams to measure.
"""

import ctypes
import sys

from benchmarks.peers.pipe import Run, UnableError, answer
from benchmarks.workloads import Workload

CELLS = 16_384


class LlamaCpp:
    """What its own programs do, without anything of ours."""

    def __init__(self, file: str, threads: int) -> None:
        import llama_cpp

        self.lib = lib = llama_cpp
        self.silence = lib.llama_log_callback(lambda *_: None)  # kept, since C does not
        lib.llama_log_set(self.silence, None)
        self.model = lib.llama_model_load_from_file(file.encode(), lib.llama_model_default_params())
        given = lib.llama_context_default_params()
        given.n_ctx, given.n_batch, given.n_ubatch, given.n_seq_max = CELLS, 2048, 512, 64
        given.n_threads = given.n_threads_batch = threads
        given.kv_unified = given.no_perf = True
        self.context = lib.llama_init_from_model(self.model, given)
        self.memory = lib.llama_get_memory(self.context)
        self.batch = lib.llama_batch_init(2048, 0, 1)
        self.sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(self.sampler, lib.llama_sampler_init_greedy())

    def run(self, work: Workload) -> int:
        """Every prompt in turn, then all rows together, each to its length."""
        if work.beams > 1:
            raise UnableError("it has no beams")
        lib = self.lib
        lib.llama_memory_clear(self.memory, False)
        rows: dict[int, list[int]] = {}  # sequence: [next token, position, tokens to go]
        made = 0
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
                made += 1
        while rows := {sequence: row for sequence, row in rows.items() if row[2] > 0}:
            self._decode([(token, position, sequence, True) for sequence, (token, position, _) in rows.items()])
            for i, row in enumerate(rows.values()):
                row[:] = lib.llama_sampler_sample(self.sampler, self.context, i), row[1] + 1, row[2] - 1
                made += 1
        return made

    def _decode(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = ctypes.c_int32(sequence)
        failed = self.lib.llama_decode(self.context, batch)
        assert not failed, f"llama_decode answered {failed}"


def start() -> tuple[str, Run]:
    file, threads = sys.argv[1:]
    peer = LlamaCpp(file, int(threads))
    return f"llama-cpp-python {peer.lib.__version__}", peer.run


if __name__ == "__main__":
    answer(start)
