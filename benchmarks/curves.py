"""What a step costs against rows, branches of one trunk, and context: numbers and pictures for docs/speed.md.

    python -m benchmarks.curves measure [--model tiny,qwen] [--precision float32,int8] [--only context] [--out docs/speed.json]
    python -m benchmarks.curves draw [--out docs/speed.json]

One thread, its processor time, the least of several steps, so that it can be told on a shared machine. `tiny` is the embedded
model; `qwen` has random weights of Qwen2-0.5B's shape. What is measured again replaces its own numbers in the file.
`benchmarks.vocabulary` draws the fourth curve, of which models differ.
"""

import argparse
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import ramify
from benchmarks.qwen_shape import folder
from ramify.models import lean
from ramify.models.base import Extension, Trunk

ROWS = (1, 2, 4, 8, 16, 32, 64)
OWN_PROMPT = 32
TRUNK = 512
CONTEXTS = {"tiny": (16, 32, 64, 128, 256, 512, 1024, 1536), "qwen": (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)}
CURVES = ["rows", "branches", "context", "parts"]
TITLES = {"tiny": "tiny, 6 million weights", "qwen": "Qwen2-0.5B's shape, 494 million weights"}
COLOURS = {"float32": "#3b6ea8", "int8": "#c8642b"}


def ids(count: int, first: int = 0) -> list[int]:
    return [300 + (first * 977 + i * 31) % 3000 for i in range(count)]


def cost_ms(run: Callable[[], object], times: int) -> float:
    """Processor milliseconds, the least of so many runs."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        run()
        found.append(time.process_time() - begun)
    return 1000 * min(found)


class Measured:
    """One model in one precision."""

    def __init__(self, model: str, precision: str) -> None:
        name = "tiny" if model == "tiny" else str(folder(Path(".cache")))
        self.contexts = CONTEXTS[model]
        self.backend: Any = ramify.load(name, precision=precision, device="cpu").engine.backend
        self.times = 12 if model == "tiny" else 5
        self.big = model != "tiny"
        self.lean = self.backend._lean is not None

    def read(self, count: int, first: int = 0) -> Trunk:
        branch = self.backend.root()
        self.backend.extend([Extension(branch, ids(count, first), 1)])
        return branch

    def step(self, branches: Sequence[Trunk]) -> None:
        """One more token for each."""
        self.backend.extend([Extension(branch, ids(1, i)) for i, branch in enumerate(branches)])

    def steps_ms(self, branches: Sequence[Trunk]) -> float:
        self.step(branches)
        return cost_ms(lambda: self.step(branches), self.times)

    def free(self, branches: Sequence[Trunk]) -> None:
        for branch in branches:
            self.backend.free(branch)

    def of_rows(self) -> list[float]:
        """ms a step of so many rows, each with a prompt of its own."""
        found, branches = [], list[Trunk]()
        for rows in ROWS:
            branches += [self.read(OWN_PROMPT, i) for i in range(len(branches), rows)]
            found.append(self.steps_ms(branches))
        self.free(branches)
        return found

    def of_branches(self) -> list[float]:
        """ms a step of so many branches of one trunk."""
        trunk = self.read(TRUNK)
        found = []
        for rows in ROWS:
            branches = [self.backend.fork(trunk) for _ in range(rows)]
            found.append(self.steps_ms(branches))
            self.free(branches)
        self.free([trunk])
        return found

    def of_copies(self) -> list[float]:
        """The same without sharing, each branch having read the prompt itself."""
        found, branches = [], list[Trunk]()
        for rows in ROWS:
            branches += [self.read(TRUNK) for _ in range(len(branches), rows)]
            found.append(self.steps_ms(branches))
        self.free(branches)
        return found

    def of_context(self) -> tuple[list[float], list[float]]:
        """ms a step of one row after so many tokens; and ms a token of reading the prompt up to there from the point before."""
        steps, reading = [], []
        trunk, length = self.backend.root(), 0
        for context in self.contexts:
            new = ids(context - length, length)
            length = context
            reading.append(cost_ms(lambda new=new: self.backend.extend([Extension(trunk, new, 1)]), 1) / len(new))
            branch = self.backend.fork(trunk)
            steps.append(self.steps_ms([branch]))
            self.free([branch])
        self.free([trunk])
        return steps, reading

    def of_parts(self, rows: int) -> dict[str, float]:
        """Of a step of so many branches of one trunk, the shares of matrix products, of attention, and of everything else.

        Of a model that goes by the decoder in few operations.
        """
        decoder = self.backend._lean
        layers = [each for layer in decoder.layers for each in (layer.query_key_value, layer.out, layer.gate_up, layer.down)]
        trunk = self.read(TRUNK)
        branches = [self.backend.fork(trunk) for _ in range(rows)]
        self.step(branches)
        with Watch() as watch:
            for kind in {type(each) for each in (decoder.head, *layers)}:
                for name in ("__call__", "into", "onto"):
                    watch.over(kind, name, "products")
            watch.over(lean, "attend", "attention")
            begun = time.process_time()
            for _ in range(self.times):
                self.step(branches)
            whole = time.process_time() - begun
        self.free([*branches, trunk])
        shares = {part: watch.spent[part] / whole for part in ("products", "attention")}
        return {**shares, "rest": 1 - sum(shares.values())}


class Watch:
    """Adds up the processor time inside of functions, the outermost of those watched."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inside = False
        self._before = contextlib.ExitStack()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._before.close()

    def over(self, owner: Any, name: str, part: str) -> None:
        """Watch a function of a class or a module until the end."""
        found = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return found(*args, **kwargs)
            self._inside, begun = True, time.process_time()
            try:
                return found(*args, **kwargs)
            finally:
                self._inside = False
                self.spent[part] += time.process_time() - begun

        setattr(owner, name, watched)
        self._before.callback(setattr, owner, name, found)


def measure(model: str, precision: str, only: Sequence[str]) -> dict[str, Any]:
    """The curves among rows, branches, context and parts that are wanted."""
    one = Measured(model, precision)
    found: dict[str, Any] = {}
    if "context" in only:
        found["context"], found["reading"] = one.of_context()
    if "rows" in only:
        found["rows"] = one.of_rows()
    if "branches" in only:
        found["branches"] = one.of_branches()
        if not one.big:  # 64 prompts of 512 tokens take the big one minutes
            found["copies"] = one.of_copies()
    if "parts" in only and one.lean:
        found["parts"] = {str(rows): one.of_parts(rows) for rows in (1, 8, 64)}
    return found


def plotter() -> Any:
    """matplotlib's pyplot, writing pictures that come out the same every time."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "ramify",
        "font.size": 8.5,
        "axes.grid": True,
        "grid.alpha": 0.3,
    }
    from matplotlib import pyplot

    return pyplot


def draw(model: str, numbers: dict[str, Any], to: Path) -> None:
    pyplot = plotter()
    from matplotlib import ticker

    figure, ((first, second), (third, fourth)) = pyplot.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    contexts = CONTEXTS[model]
    figure.suptitle(f"{TITLES[model]}: processor time of one thread")
    for precision, found in numbers.items():
        colour = COLOURS[precision]
        first.plot(ROWS, [ms / n for ms, n in zip(found["rows"], ROWS, strict=True)], "o-", color=colour, label=precision)
        second.plot(ROWS, found["branches"], "o-", color=colour, label=f"{precision}, one trunk")
        if "copies" in found:
            second.plot(ROWS, found["copies"], "x:", color=colour, label=f"{precision}, each its own copy")
        third.plot(contexts, found["context"], "o-", color=colour, label=f"{precision}, a step")
        third.plot(contexts, found["reading"], "x:", color=colour, label=f"{precision}, a token of the prompt")
    first.set(title="A token, by rows of a batch", xlabel="rows", ylabel="ms a token")
    second.set(title=f"A step, by branches of one prompt of {TRUNK}", xlabel="branches", ylabel="ms a step")
    third.set(title="One row, by what came before", xlabel="tokens of context", ylabel="ms")
    for axes, ticks in ((first, ROWS), (second, ROWS), (third, contexts)):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        crowded = 1024 if 1536 in ticks else None
        axes.set_xticks(ticks, ["" if tick == crowded else str(tick) for tick in ticks])
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2} if axes is third else {}
        axes.legend(**below)
    if any("parts" in found for found in numbers.values()):
        _bars(fourth, numbers)
    else:
        fourth.set_axis_off()
    figure.savefig(to, metadata={"Date": None})
    pyplot.close(figure)


def _bars(axes: Any, numbers: dict[str, Any]) -> None:
    """Where a step goes, in shares, for 1, 8 and 64 branches."""
    names = []
    shares: dict[str, list[float]] = {"products": [], "attention": [], "rest": []}
    for precision, found in numbers.items():
        for rows, parts in found.get("parts", {}).items():
            names.append(f"{precision}, {rows}")
            for part, share in parts.items():
                shares[part].append(100 * share)
    left = [0.0] * len(names)
    for (part, widths), colour in zip(shares.items(), ("#6b8f5e", "#d0a83c", "#a9a9a9"), strict=True):
        axes.barh(names, widths, left=left, color=colour, label={"products": "matrix products"}.get(part, part))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(title="Where a step of 1, 8, 64 branches goes, %", xlim=(0, 100))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("do", choices=["measure", "draw"])
    arguments.add_argument("--model", default="tiny,qwen")
    arguments.add_argument("--precision", default="float32,int8")
    arguments.add_argument("--only", nargs="+", choices=CURVES, default=CURVES)
    arguments.add_argument("--out", type=Path, default=Path("docs/speed.json"))
    given = arguments.parse_args()
    known: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    if given.do == "measure":
        torch.set_num_threads(1)
        for model in given.model.split(","):
            for precision in given.precision.split(","):
                found = rounded(measure(model, precision, given.only))
                known.setdefault(model, {}).setdefault(precision, {}).update(found)
                print(model, precision, json.dumps(found), flush=True)
                given.out.write_text(json.dumps(known, indent=1) + "\n")
    for model, numbers in known.items():
        if model in TITLES:
            draw(model, numbers, given.out.with_name(f"{given.out.stem}-{model}.svg"))


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return [round(value, 3) for value in found] if isinstance(found, list) else round(found, 3)


if __name__ == "__main__":
    main()
