"""Batch jobs side by side, on real prompts and `tiny`: our runner, the same without shared prefixes, padded batches of
transformers.generate, and our own server asked concurrently. Greedy, so that all make the same number of tokens of the same rows.

    python -m benchmarks.batch --data ../shared/data/instruct --rows 10000
    python -m benchmarks.batch --data ../shared/data/instruct --rows 10000 --peer-rows 1000

With --peer-rows the others have every tenth row, say, and our runner those, for the comparison, and then all of them. Each
contender runs in a process of its own; printed are rows and tokens a second of wall time, processor seconds a thousand rows, the
highest memory, and for each tenth of the rows the resident memory and the engine's keys and values, medians of samples of it:
one that streams keeps them alike.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEADER = (
    "You are a careful assistant. Read the question below from beginning to end before you answer it. Answer in plain words, "
    "say only what you know, and keep your answer short. If the question has several parts, answer each of them in its order.\n\n"
)
"""What every row of a batch begins with, as rows made from one template do."""
COLUMNS = ("question", "prompt", "Question", "instruction")
MAX_NEW_TOKENS = 16
WINDOW = 700
"""Longer prompts, in characters, are cut, so that they fit the model's window for everybody alike."""


def prompts_of(folder: Path, wanted: int) -> list[str]:
    """Real prompts of whatever JSON Lines and Parquet files there are, repeated in order until there are enough."""
    from ramify.exchange.entries import Record
    from ramify.exchange.reading import read_path

    found: list[str] = []
    for file in sorted(folder.rglob("*")):
        if file.suffix not in (".jsonl", ".parquet", ".json", ".csv") or not file.is_file():
            continue
        for record in read_path(str(file)):
            if isinstance(record, Record):
                text = next((record.data[name] for name in COLUMNS if isinstance(record.data.get(name), str)), None)
                if text and text.strip():
                    found.append(f"{HEADER}User: {text.strip()[:WINDOW]}\nAssistant:")
    if not found:
        raise SystemExit(f"there are no prompts in {folder}")
    return [found[i % len(found)] for i in range(wanted)]


SAMPLED_S = 0.2


class Watch:
    """Samples this process's memory while rows are done, from a thread of its own."""

    def __init__(self, rows: int) -> None:
        self.rows, self.done = rows, 0
        self.kept_bytes: Callable[[], int] = lambda: 0
        """Keys and values of the engine, as it counts them."""
        self._samples: list[tuple[int, float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        import psutil

        process = psutil.Process()
        while not self._over.wait(SAMPLED_S):
            self._samples.append((self.done, process.memory_info().rss / 2**20, self.kept_bytes() / 2**20))

    def by_tenths(self) -> list[tuple[float, float] | None]:
        """Resident MiB and MiB of keys and values in each tenth of the rows; None where no sample fell into it."""
        found: list[tuple[float, float] | None] = []
        for tenth in range(10):
            inside = [each for each in self._samples if each[0] and min(9, each[0] * 10 // self.rows) == tenth]
            medians = (
                (statistics.median(each[1] for each in inside), statistics.median(each[2] for each in inside)) if inside else None
            )
            found.append(medians)
        return found


def highest_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def job(prompts: list[str], folder: Path, watch: Watch, *, shared: bool) -> dict[str, Any]:
    """`ramify batch` from a file to a file. shared: whether what prompts begin with alike is computed once."""
    import contextlib

    from ramify import batches
    from ramify.batch import jobs
    from ramify.batch.spec import JobSpec
    from ramify.engine.model import Model
    from ramify.store import Database

    source, out = folder / "in.jsonl", folder / "out.jsonl"
    with source.open("w") as file:
        for prompt in prompts:
            file.write(json.dumps({"prompt": prompt}) + "\n")
    settings: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.0}
    how = {"device": "cpu", "precision": "float32"}
    spec = JobSpec(model="tiny", input_path=str(source), output_path=str(out), settings=settings, seed=0, how=how)
    opened = contextlib.ExitStack()
    loaded = opened.enter_context(batches.open_model(spec))
    assert isinstance(loaded, Model)
    model = loaded if shared else opened.enter_context(Model(loaded.engine.backend, kept_bytes=0))
    model.complete("Once", max_new_tokens=2)
    watch.kept_bytes = model.engine.backend.size_bytes

    @contextlib.contextmanager
    def open_model(_: JobSpec) -> Iterator[Model]:
        yield model

    def told(state: Any) -> None:
        watch.done = state.done

    with opened, Database.open(folder / "w.ramify") as database:
        began = time.perf_counter()
        key = jobs.create(database, spec).key
        ended = jobs.run(database, key, open_model=open_model, told=told)
        took = time.perf_counter() - began
    assert ended.state == "completed", ended.error
    assert ended.failed == 0
    return {"tokens": ended.completion_tokens, "wall_s": took}


def padded(prompts: list[str], folder: Path, watch: Watch) -> dict[str, Any]:
    """transformers.generate in batches of 32, sorted by length, which is the best case for padding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ramify.models.registry import Registry

    path = Registry().show("tiny").target
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ordered = sorted(prompts, key=len)
    tokens = 0
    began = time.perf_counter()
    for start in range(0, len(ordered), 32):
        given = tokenizer(ordered[start : start + 32], return_tensors="pt", padding=True)
        given.pop("token_type_ids", None)
        with torch.inference_mode():
            made = model.generate(**given, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        new = made[:, given["input_ids"].shape[1] :]
        eos = torch.tensor(model.generation_config.eos_token_id).reshape(-1)
        ended = torch.isin(new, eos).int().cumsum(1)
        tokens += int(((ended - torch.isin(new, eos).int()) == 0).sum())
        watch.done = start + len(made)
    return {"tokens": tokens, "wall_s": time.perf_counter() - began}


def server(prompts: list[str], folder: Path, watch: Watch) -> dict[str, Any]:
    """The same rows as requests to our own server, 64 at a time, client and server in this process."""
    import asyncio

    import httpx2

    from ramify.api.app import create_app
    from ramify.api.serving import ServerProcess, bound, configuration
    from ramify.api.state import Limits
    from ramify.engine.model import Model, load

    def loaded(name: str) -> Model:
        model = load(name, device="cpu", precision="float32")
        watch.kept_bytes = model.engine.backend.size_bytes
        return model

    app = create_app(token="benchmark", load=loaded, limits=Limits(max_queue=1024))
    listener = bound("127.0.0.1", 0)
    process = ServerProcess(configuration(app))
    thread = threading.Thread(target=process.run, args=([listener],), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    tokens = [0]

    async def ask() -> float:
        limits = httpx2.Limits(max_connections=64)
        headers = {"authorization": "Bearer benchmark"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits, verify=False) as client:
            while (await client.get("/health")).status_code != 200:
                await asyncio.sleep(0.1)
            waiting = iter(prompts)
            began = time.perf_counter()

            async def worker() -> None:
                for prompt in waiting:
                    body = {"model": "tiny", "prompt": prompt, "max_tokens": MAX_NEW_TOKENS, "temperature": 0}
                    answer = (await client.post("/v1/completions", json=body)).json()
                    tokens[0] += answer["usage"]["completion_tokens"]
                    watch.done += 1

            await asyncio.gather(*(worker() for _ in range(64)))
            return time.perf_counter() - began

    took = asyncio.run(ask())
    process.should_exit = True
    thread.join(30)
    return {"tokens": tokens[0], "wall_s": took}


OURS = "ramify batch"
CONTENDERS: dict[str, Callable[[list[str], Path, Watch], dict[str, Any]]] = {
    OURS: lambda prompts, folder, watch: job(prompts, folder, watch, shared=True),
    "without shared prefixes": lambda prompts, folder, watch: job(prompts, folder, watch, shared=False),
    "transformers, padded": padded,
    "our server, 64 at once": server,
}


def run(name: str, prompts: list[str], pipe: Any) -> None:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, Watch(len(prompts)) as watch:
        before = time.process_time()
        found = CONTENDERS[name](prompts, Path(folder), watch)
        cpu_s = time.process_time() - before
        pipe.send({**found, "cpu_s": cpu_s, "highest_mib": highest_mib(), "tenths": watch.by_tenths()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of real prompts")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--peer-rows", type=int, help="how many of the rows the others get, evenly spread; unset: all")
    parser.add_argument("--only", action="append", choices=CONTENDERS)
    given = parser.parse_args()
    prompts = prompts_of(given.data, given.rows)
    sample = prompts if given.peer_rows is None else prompts[:: max(1, len(prompts) // given.peer_rows)]
    print(f"{len(prompts)} rows, {len(set(prompts))} different prompts, {MAX_NEW_TOKENS} tokens at most, one thread each\n")
    print("| | rows | rows/s | tokens/s | CPU s / 1000 rows | highest MiB | MiB (keys and values) by tenths |")
    print("|---|---|---|---|---|---|---|")
    names = given.only or list(CONTENDERS)
    for name in names:
        row(name, sample)
    if sample is not prompts and OURS in names:
        row(OURS, prompts)


def row(name: str, prompts: list[str]) -> None:
    """Run a contender in a process of its own, and print its line of the table."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=run, args=(name, prompts, theirs))
    process.start()
    theirs.close()
    found = mine.recv()
    process.join()
    rows, tokens = len(prompts) / found["wall_s"], found["tokens"] / found["wall_s"]
    cpu = 1000 * found["cpu_s"] / len(prompts)
    tenths = ", ".join("–" if each is None else f"{each[0]:.0f} ({each[1]:.0f})" for each in found["tenths"])
    print(
        f"| {name} | {len(prompts)} | {rows:.1f} | {tokens:.0f} | {cpu:.1f} | {found['highest_mib']:.0f} | {tenths} |", flush=True
    )


if __name__ == "__main__":
    main()
