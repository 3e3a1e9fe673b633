"""Exports load with `datasets` and train with TRL, with no column work in between."""

from pathlib import Path
from typing import Any

import pytest

import ramify
from exchange.conftest import Bring
from ramify.exchange.exporting import export
from ramify.exchange.templates import FORMS, ExportTemplate, FacetShare
from ramify.store import Database, NewCompletion


def fill(db: Database, count: int = 4) -> None:
    db.facets.add("f")
    for i in range(count):
        sample = db.samples.add([{"role": "user", "content": f"Tell me of hedgehog {i}"}])
        pair = [
            db.completions.add(sample.id, NewCompletion(text=t, finish_reason="written")).id for t in ("It was small.", "No.")
        ]
        for number, rating in zip(pair, (9, 1), strict=True):
            db.judgements.rate(number, "f", rating)


def written(db: Database, kind: str, form: str, path: Path) -> Any:
    import datasets

    export(db, ExportTemplate(kind=kind, form=form, facets=(FacetShare(name="f"),)), path, overwrite=True)
    reader = "parquet" if path.suffix == ".parquet" else "json"
    return datasets.load_dataset(reader, data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


@pytest.mark.parametrize("ending", ["jsonl", "parquet", pytest.param("json", marks=pytest.mark.slow)])
def test_every_form_loads_with_datasets(db: Database, tmp_path: Path, ending: str) -> None:
    fill(db)
    for form, kinds in FORMS.items():
        for kind in set(kinds) - {"stepwise"}:
            found = written(db, kind, form, tmp_path / f"{form}-{kind}.{ending}")
            assert len(found) == (8 if kind == "kto" else 4), (form, kind)


def train(kind: str, rows: Any, folder: Path) -> float:
    """One step of TRL's trainer on `tiny`; the loss."""
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(Path(ramify.__file__).parent / "models" / "embedded" / "tiny")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(where), AutoTokenizer.from_pretrained(where)
    config, trainer = {
        "sft": (trl.SFTConfig, trl.SFTTrainer),
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "kto": _kto(trl),
    }[kind]
    more = {} if kind == "sft" else {"beta": 0.1}
    settings = config(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )
    done = trainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer).train()
    return float(done.training_loss)


def _kto(trl: Any) -> tuple[Any, Any]:
    if hasattr(trl, "KTOTrainer"):
        return trl.KTOConfig, trl.KTOTrainer
    from trl.experimental.kto import KTOConfig, KTOTrainer

    return KTOConfig, KTOTrainer


@pytest.mark.parametrize(
    "kind", ["sft", pytest.param("dpo", marks=pytest.mark.slow), pytest.param("kto", marks=pytest.mark.slow)]
)
def test_trl_takes_a_step_on_an_export_as_it_is(db: Database, tmp_path: Path, kind: str) -> None:
    fill(db)
    loss = train(kind, written(db, kind, "trl", tmp_path / "t.jsonl"), tmp_path / "run")
    assert 0 < loss < 20


@pytest.mark.slow
def test_real_demonstrations_go_through_trl(bring: Bring, db: Database, data: Path, tmp_path: Path) -> None:
    bring(data / "preference" / "llamafactory" / "dpo_en_demo.json", facet="f", limit=20)
    assert train("dpo", written(db, "dpo", "trl", tmp_path / "t.parquet"), tmp_path / "run") > 0
