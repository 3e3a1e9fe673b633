"""A plan as data is the plan again, and what it cannot mean is refused."""

import json
from typing import Any

import pytest

from ramify.errors import InputError
from ramify.training.plans import plan_from


@pytest.mark.parametrize(
    "data",
    [
        {"method": "sft", "rows": ["a.jsonl"], "out": "x"},
        {"method": "sft", "rows": ["a.jsonl"], "out": "x", "train": {"optimizer": "muon", "tokens_per_step": 99, "max_steps": 2}},
        {"method": "dpo", "workspace": "w", "facets": ["a", "b=3"], "out": "x", "lora": {"rank": 4}, "keep": True,
         "select": {"validation": 0.1}, "preference": {"beta": 0.3, "reference": False},
         "train": {"betas": [0.8, 0.9], "patience": 2}},
    ],
)  # fmt: skip
def test_a_plan_as_json_is_the_plan_again(data: dict[str, Any]) -> None:
    plan = plan_from(data)
    assert plan_from(json.loads(json.dumps(plan.to_data()))) == plan


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"train": {"batch_size": 2, "tokens_per_step": 9}}, "batch_size and tokens_per_step are given"),
        ({"train": {"matrix_learning_rate": 0.1}}, "matrix_learning_rate is Muon's"),
        ({"preference": {"beta": 0.5}}, "sft does not read it"),
        ({"preference": {"reference": False}}, "preference.reference is False, and sft does not read it"),
        ({"method": "kto", "preference": {"reference": False}}, "preference.reference is False, and kto does not read it"),
        ({"speed": 1}, "a training plan has no 'speed'"),
        ({"lora": {"width": 1}}, "lora has no 'width'"),
        ({"merge": True}, "no lora is given"),
        ({"method": "ppo"}, "method is 'ppo'; it must be one of sft, dpo, kto"),
    ],
)
def test_what_a_plan_cannot_mean_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_from({"method": "sft", "rows": ["a.jsonl"], "out": "x", **more})
