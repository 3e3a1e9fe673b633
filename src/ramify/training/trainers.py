"""The training loop, for pretraining and for fine-tuning on prompt → completion pairs.

Hidden matrices learn with Muon, embeddings and norms with AdamW. A run is limited by steps or by seconds, and the learning
rate's schedule is laid over that limit. A run that was killed goes on from its last checkpoint with the same batches.

Sources: Jordan et al. 2024, "Muon"; Liu et al. 2025, "Muon is Scalable for LLM Training" (its update scaled to AdamW's
size); Loshchilov and Hutter 2019, "Decoupled Weight Decay".
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ramify.errors import InputError
from ramify.training.batching import Batches, pad_batch
from ramify.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from ramify.training.examples import Example, check_examples
from ramify.training.loss import loss_sum, masked_loss
from ramify.training.muon import Muon

__all__ = ["TrainConfig", "evaluate", "learning_rate_share", "load_model", "new_model", "save_model", "train"]

Schedule = Literal["constant", "linear"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. One of `max_steps` and `max_seconds` limits the run; with both, `max_steps` is the schedule's measure."""

    max_steps: int | None = None
    max_seconds: float | None = None
    tokens_per_step: int = 8192
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 6e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    schedule: Schedule = "linear"
    clip_norm: float = 1.0
    max_length: int = 512
    seed: int = 0
    bf16: bool = False
    compile: bool = False
    log_every: int = 20
    validate_every_s: float = 300.0
    save_every_s: float = 180.0

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_seconds is None:
            raise InputError("neither max_steps nor max_seconds is given; one of them must say when training ends")
        for name in ("max_steps", "max_seconds", "tokens_per_step", "learning_rate", "matrix_learning_rate", "max_length"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be more than 0")
        if self.schedule not in ("constant", "linear"):
            raise InputError(f"schedule is {self.schedule!r}; it must be constant or linear")


def learning_rate_share(config: TrainConfig, progress: Progress) -> float:
    """The factor on both learning rates at the next step: a linear warm-up, then constant or straight down to 0 at the limit."""
    warm = min(1.0, (progress.step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return warm
    if config.max_steps is not None:
        done = progress.step / config.max_steps
    else:
        assert config.max_seconds is not None
        done = progress.seconds / config.max_seconds
    return warm * max(0.0, 1.0 - done)


def new_model(
    *,
    vocab_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    intermediate_size: int,
    seed: int = 0,
    context_window: int = 2048,
) -> Any:
    """A Llama with random weights and tied embeddings, its special ids those of `tokenizers.SPECIAL_TOKENS`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if hidden_size % heads or heads % kv_heads:
        raise InputError(f"hidden_size {hidden_size}, heads {heads}, kv_heads {kv_heads}: each must be a multiple of the next")
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": vocab_size, "hidden_size": hidden_size, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": intermediate_size, "max_position_embeddings": context_window,
        "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**settings))


def load_model(folder: Path) -> Any:
    """A causal LM in float32, ready to be trained. `folder` may hold bfloat16 weights or a checkpoint of a run."""
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model: there is no config.json")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)


def save_model(model: Any, folder: Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """The weights in `dtype` and the configuration, as a Hugging Face folder. The model itself is left as it is."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    named = dict(model.named_parameters())  # tied weights come once
    save_file(
        {name: p.detach().to(dtype).contiguous() for name, p in named.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    settings = model.config.to_dict() | {"dtype": str(dtype).removeprefix("torch.")}
    settings.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    ids = {key: settings[f"{key}_token_id"] for key in ("bos", "eos", "pad")}
    generation = {f"{key}_token_id": value for key, value in ids.items()}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def optimizers_for(model: Any, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the hidden layers, AdamW for everything else. Each group keeps its full rate as `base_lr`."""
    embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in embeddings]
    tables = [p for p in parameters if p.ndim == 2 and id(p) in embeddings]
    others = [p for p in parameters if p.ndim != 2]
    decay = config.weight_decay
    groups = [{"params": tables, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    built: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, betas=(0.9, 0.95), eps=1e-10)
    ]
    if matrices:
        rate = config.matrix_learning_rate
        built.append(Muon(matrices, rate, weight_decay=decay))
    for optimizer in built:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return built


def _autocast(enabled: bool, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


def evaluate(model: Any, examples: Sequence[Example], *, tokens_per_batch: int = 8192, bf16: bool = False) -> float:
    """Mean loss in nats over all learned tokens of `examples`, each token weighing the same."""
    if not examples:
        raise InputError("there are no validation rows to measure")
    device = next(model.parameters()).device
    order = sorted(examples, key=lambda example: len(example.token_ids))
    total, count, start = 0.0, 0, 0
    was_training = model.training
    model.eval()
    with torch.no_grad(), _autocast(bf16, device):
        while start < len(order):
            end = start + 1
            while end < len(order) and len(order[end].token_ids) * (end + 1 - start) <= tokens_per_batch:
                end += 1
            token_ids, labels = (tensor.to(device) for tensor in pad_batch(order[start:end]))
            hidden = model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
            loss, learned = masked_loss(hidden, model.get_output_embeddings().weight, labels)
            total, count, start = total + float(loss), count + learned, end
    model.train(was_training)
    return total / max(1, count)


def train(
    model: Any,
    examples: Sequence[Example],
    config: TrainConfig,
    folder: Path,
    *,
    validation: Mapping[str, Sequence[Example]] | None = None,
    report: Callable[[dict[str, Any]], None] = lambda line: None,
) -> Progress:
    """Train `model` in place; returns what was done. Goes on from `folder/checkpoint` where there is one.

    Every `log_every` steps one line (step, loss in nats, lr, tokens/s, seconds) goes to `report` and to `folder/log.jsonl`.
    Raises InputError before the first step where a row cannot be trained on.
    """
    if not examples:
        raise InputError("there are no rows to train on")
    check_examples(examples, vocab_size=model.config.vocab_size, max_length=config.max_length)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    optimizers = optimizers_for(model, config)
    progress = load_checkpoint(folder / "checkpoint", model, optimizers) or Progress()
    batches = Batches(examples, config.tokens_per_step, seed=config.seed)
    run = _Run(model, config, optimizers)
    log = _Log(folder / "log.jsonl", progress.step, report)
    saved = validated = progress.seconds
    recent: list[Tensor] = []
    recent_learned = recent_tokens = 0
    recent_from = progress.seconds
    model.train()
    while not _finished(config, progress):
        started = time.monotonic()
        token_ids, labels = batches[progress.step]
        share = learning_rate_share(config, progress)
        total, learned = run.step(token_ids, labels, share)
        progress.step += 1
        progress.tokens += token_ids.numel()
        progress.learned += learned
        progress.seconds += time.monotonic() - started
        recent.append(total)
        recent_learned, recent_tokens = recent_learned + learned, recent_tokens + token_ids.numel()
        if progress.step % config.log_every == 0 or _finished(config, progress):
            seconds = max(1e-9, progress.seconds - recent_from)
            loss = float(torch.stack(recent).sum()) / recent_learned
            log.write({
                "step": progress.step, "loss": round(loss, 4), "lr": round(config.learning_rate * share, 7),
                "tokens_per_s": round(recent_tokens / seconds), "tokens": progress.tokens, "seconds": round(progress.seconds, 1),
            })  # fmt: skip
            recent, recent_learned, recent_tokens, recent_from = [], 0, 0, progress.seconds
        ended = _finished(config, progress)
        if validation and (ended or progress.seconds - validated >= config.validate_every_s):
            validated = progress.seconds
            measured = {name: round(evaluate(model, rows, bf16=config.bf16), 4) for name, rows in validation.items()}
            log.write({"step": progress.step, "validation": measured, "seconds": round(progress.seconds, 1)})
        if ended or progress.seconds - saved >= config.save_every_s:
            saved = progress.seconds
            save_checkpoint(folder / "checkpoint", model, optimizers, progress)
    return progress


def _finished(config: TrainConfig, progress: Progress) -> bool:
    if config.max_steps is not None and progress.step >= config.max_steps:
        return True
    return config.max_seconds is not None and progress.seconds >= config.max_seconds


class _Run:
    """One optimizer step at a time, compiled or not."""

    def __init__(self, model: Any, config: TrainConfig, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.model, self.config, self.optimizers = model, config, optimizers
        self.device = next(model.parameters()).device
        self.body: Callable[..., Any] = model.base_model
        self.of_chunk: Callable[[Tensor, Tensor, Tensor], Tensor] = loss_sum
        if config.compile:
            self.body = torch.compile(model.base_model, dynamic=True)
            self.of_chunk = torch.compile(loss_sum, dynamic=True)

    def step(self, token_ids: Tensor, labels: Tensor, share: float) -> tuple[Tensor, int]:
        """Returns the summed loss (detached) and the number of learned tokens; the update is by their mean."""
        token_ids, labels = token_ids.to(self.device), labels.to(self.device)
        with _autocast(self.config.bf16, self.device):
            hidden = self.body(input_ids=token_ids, use_cache=False).last_hidden_state
            weight = self.model.get_output_embeddings().weight
            total, learned = masked_loss(hidden, weight, labels, of_chunk=self.of_chunk)
        (total / learned).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return total.detach(), learned


class _Log:
    """log.jsonl; lines past the step that a run resumes from are dropped, for those steps are done again."""

    def __init__(self, path: Path, step: int, report: Callable[[dict[str, Any]], None]) -> None:
        self.path, self.report = path, report
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.report(line)
