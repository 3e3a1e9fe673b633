"""Make the embedded model again, from the data to the card.

    OMP_WAIT_POLICY=PASSIVE python -m recipes.tiny.build          everything, about three hours on two cores
    OMP_WAIT_POLICY=PASSIVE python -m recipes.tiny.build --from sft       go on from what .cache/tiny holds

Where there is an accelerator, `recipes.tiny.teach` trains better weights in eight minutes; --from install --weights packs them.

A passive wait policy matters where other work runs beside it: threads that wait then sleep instead of spinning.

Each step is a command of `ramify train`, printed before it runs. A killed training step goes on from its checkpoint.
"""

import argparse
import shutil
from pathlib import Path

from ramify.cli.train import app
from recipes.tiny.copies import write_copies
from recipes.tiny.material import PACKAGE_FOLDER, write_material

__all__ = ["PACKAGE_FOLDER", "STEPS", "commands", "install"]

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("material", "tokenizer", "copies", "pretrain", "sft", "settle", "install", "evaluate")
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
SIZE_LIMIT_BYTES = 16_000_000


def commands(cache: Path, *, pretrain_seconds: float, sft_seconds: float, settle_seconds: float) -> dict[str, list[str]]:
    """The arguments of `ramify train` for each step that is one."""
    material = cache / "material"
    speed = ["--bf16", "--compile"]

    def instructions(names: tuple[str, ...], model: str, out: str, seconds: float, rate: float) -> list[str]:
        rows = [word for name in names for word in ("--rows", f"{material / name}.jsonl")]
        held_out = [f"--validation-rows={material / name}.jsonl" for name in ("held_out_stories", "held_out_pairs")]
        return [
            "sft", *rows, "--model", f"{cache / model}", "--out", f"{cache / out}", *held_out,
            "--max-seconds", f"{seconds:g}", "--tokens-per-step", "4096", "--turns", "all", "--optimizer", "muon",
            "--window", "2048", "--log-every", "20", "--save-as", "bfloat16",
            "--learning-rate", f"{rate:g}", "--matrix-learning-rate", f"{2 * rate:g}", *speed,
        ]  # fmt: skip

    return {
        "tokenizer": ["tokenizer", "--rows", f"{material / 'text.jsonl'}", "--out", f"{cache / 'tokenizer'}"],
        "pretrain": [
            "pretrain", "--rows", f"{material / 'text.jsonl'}", "--tokenizer", f"{cache / 'tokenizer'}",
            "--out", f"{cache / 'pretrained'}", "--validation-rows", f"{material / 'held_out_stories.jsonl'}",
            "--max-seconds", f"{pretrain_seconds:g}", "--schedule", "constant", "--max-length", "512", *speed,
        ],
        "sft": instructions(("pairs",), "pretrained", "tuned", sft_seconds, 2e-3),
        "settle": instructions(("more_pairs", "copies"), "tuned", "settled", settle_seconds, 1e-3),
    }  # fmt: skip


def install(trained: Path, folder: Path = PACKAGE_FOLDER) -> int:
    """Copy a trained folder into the package, all or nothing; returns its bytes."""
    size = sum((trained / name).stat().st_size for name in FILES)
    if size > SIZE_LIMIT_BYTES:
        raise SystemExit(f"{trained} has {size} bytes; the package holds {SIZE_LIMIT_BYTES} at most")
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(trained / name, fresh / name)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return size


def main() -> None:
    """Run the steps in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "stories" / "tinystories")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "tiny")
    parser.add_argument("--from", dest="first", choices=STEPS, default="material")
    parser.add_argument("--weights", type=Path, help="the folder to install; unset: what the settling stage made")
    parser.add_argument("--pretrain-seconds", type=float, default=2200)
    parser.add_argument("--sft-seconds", type=float, default=3300)
    parser.add_argument("--settle-seconds", type=float, default=4800)
    given = parser.parse_args()
    seconds = {
        "pretrain_seconds": given.pretrain_seconds,
        "sft_seconds": given.sft_seconds,
        "settle_seconds": given.settle_seconds,
    }
    steps = commands(given.cache, **seconds)
    for step in STEPS[STEPS.index(given.first) :]:
        if step == "material":
            if not given.stories.is_dir():
                raise SystemExit(f"{given.stories} is not a folder; give the folder of tinystories.jsonl with --stories")
            print(write_material(given.stories, given.cache / "material"))
        elif step == "copies":
            print(write_copies(given.cache / "tokenizer", given.cache / "material" / "copies.jsonl"), "rows to copy")
        elif step == "install":
            print(f"{install(given.weights or given.cache / 'settled')} bytes in {PACKAGE_FOLDER}")
        elif step == "evaluate":
            from recipes.tiny.evaluate import evaluate_package

            evaluate_package(given.cache)
        else:
            print("ramify train", *steps[step], flush=True)
            app(steps[step], standalone_mode=False)


if __name__ == "__main__":
    main()
