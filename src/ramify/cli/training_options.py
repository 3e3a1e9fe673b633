# ruff: noqa: E501 (each flag is kept on one line)
"""The options of `ramify train sft`, `dpo`, `kto` and `check`: flags laid over a plan's YAML file, in one table."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.training.plans import TrainingPlan

__all__ = ["plan_of", "takes_plan"]

ROWS, FIT, LEARN, RESULT = "Which rows", "What of them is learned", "How it is learned", "The result"


@dataclass(frozen=True)
class _Flag:
    path: str
    """Where its value goes in the plan, with dots."""
    kind: Any
    panel: str
    help: str
    metavar: str | None = None
    names: tuple[str, ...] = ()


FLAGS: dict[str, _Flag] = {
    "model": _Flag("model", str, ROWS, "The model to start from; unset: the first facet's target, of files tiny.", "NAME", ("-m",)),
    "workspace": _Flag("workspace", str, ROWS, "The workspace; unset: RAMIFY_WORKSPACE, else the last one used.", "PATH|URL", ("-w",)),
    "facet": _Flag("facets", list[str], ROWS, "In order, as in `ramify export`; may be repeated.", "NAME[=N|=N%]"),
    "rows": _Flag("rows", list[str], ROWS, "Files of rows in place of a workspace: exports, or any format of `ramify import`; may be repeated.", "FILE"),
    "validation_rows": _Flag("validation_rows", list[str], ROWS, "Files of rows to measure and not to learn; may be repeated.", "FILE"),
    "validation": _Flag("select.validation", float, ROWS, "This share of the workspace's prompts is measured and not learned.", "SHARE"),
    "truncated": _Flag("select.truncated", bool, ROWS, "Truncated ones too; they learn no EOS."),
    "archived": _Flag("select.archived", bool, ROWS, "Archived ones too."),
    "good_rating": _Flag("select.good_rating", int, ROWS, "Good from here on; unset: the facet's.", "N"),
    "per_sample": _Flag("select.per_sample", int, ROWS, "Rows a sample at most; unset: 1 for sft, else all.", "N"),
    "filter": _Flag("select.filter", list[str], ROWS, "Only what matches: a saved filter, or a filter as JSON; several must all match.", "NAME|JSON|@FILE"),
    "prompts": _Flag("select.prompts", str, ROWS, "as-is, as-user, raw or messages.", "WHICH"),
    "turns": _Flag("learn.turns", str, FIT, "last: the completion; all: the assistant's earlier turns too.", "WHICH"),
    "prefill": _Flag("learn.prefill", bool, FIT, "Whether a prefill is learned (it is)."),
    "retokenize": _Flag("learn.retokenize", bool, FIT, "Spell completions of another tokenizer anew, in place of refusing them."),
    "window": _Flag("train.max_length", int, FIT, "Longest row in tokens; never more than the model was made for.", "N"),
    "overlong": _Flag("overlong", str, FIT, "Rows over the window: refuse, leave-out, cut-prompt or cut-completion.", "WHAT"),
    "unusable": _Flag("unusable", str, FIT, "Rows that cannot be trained on: refuse or leave-out.", "WHAT"),
    "epochs": _Flag("train.epochs", float, LEARN, "How often every row is read.", "N"),
    "max_steps": _Flag("train.max_steps", int, LEARN, "End after so many steps.", "N"),
    "max_seconds": _Flag("train.max_seconds", float, LEARN, "End after so long.", "S"),
    "batch_size": _Flag("train.batch_size", int, LEARN, "Rows in one pass.", "N"),
    "tokens_per_step": _Flag("train.tokens_per_step", int, LEARN, "Tokens a step, in place of a number of rows.", "N"),
    "accumulation": _Flag("train.accumulation", int, LEARN, "Passes a step.", "N"),
    "packing": _Flag("train.packing", bool, LEARN, "Rows behind one another without padding, a prompt of several once; none sees another."),
    "together": _Flag("train.together", bool, LEARN, "Rows of one prompt in one pass, so that --packing reads it once."),
    "checkpointing": _Flag("train.checkpointing", bool, LEARN, "Compute activations again on the way back: less memory, a third more work."),
    "learning_rate": _Flag("train.learning_rate", float, LEARN, "AdamW's; unset: 1e-4 for sft, 1e-5 for dpo and kto, ten times that with --lora.", "X"),
    "optimizer": _Flag("train.optimizer", str, LEARN, "adamw; or muon for the hidden layers' matrices.", "NAME"),
    "matrix_learning_rate": _Flag("train.matrix_learning_rate", float, LEARN, "Muon's.", "X"),
    "weight_decay": _Flag("train.weight_decay", float, LEARN, "Of matrices.", "X"),
    "warmup_steps": _Flag("train.warmup_steps", int, LEARN, "Steps over which the rates rise.", "N"),
    "schedule": _Flag("train.schedule", str, LEARN, "constant, linear or cosine.", "NAME"),
    "patience": _Flag("train.patience", int, LEARN, "End after so many validations without a better loss; the best weights are kept.", "N"),
    "validate_every": _Flag("train.validate_every", int, LEARN, "Steps between validations.", "N"),
    "save_every": _Flag("train.save_every", int, LEARN, "Steps between checkpoints.", "N"),
    "log_every": _Flag("train.log_every", int, LEARN, "Steps between lines of the log.", "N"),
    "seed": _Flag("train.seed", int, LEARN, "Of the order of rows, of dropout, of an adapter.", "N"),
    "bf16": _Flag("train.bf16", bool, LEARN, "Compute in bfloat16; weights stay in float32."),
    "compile": _Flag("train.compile", bool, LEARN, "Compile the model first; needs a C++ compiler on a CPU."),
    "device": _Flag("device", str, LEARN, "cpu or cuda; unset: a GPU where there is one.", "WORD"),
    "lora": _Flag("lora.rank", int, LEARN, "Train a LoRA adapter of this rank in place of all weights.", "RANK"),
    "keep": _Flag("keep.weight", float, LEARN, "Hold the model to what it used to say unasked, with this weight beside the rows.", "X"),
    "keep_model": _Flag("keep.model", str, LEARN, "Hold it to this one in place of the one it starts from: of dpo, the model that sft began with.", "NAME"),
    "out": _Flag("out", str, RESULT, "Folder for the result, its checkpoint and log; unset: one of the data folder, by --name.", "FOLDER", ("-o",)),
    "name": _Flag("name", str, RESULT, "Enter the result into the registry under this name.", "NAME"),
    "replace": _Flag("replace_name", bool, RESULT, "Whatever had that name before."),
    "target_of": _Flag("target_of", str, RESULT, "Make the result the target model of this facet.", "FACET"),
    "merge": _Flag("merge", bool, RESULT, "Keep the adapter's effect in the weights, in place of an adapter."),
    "save_as": _Flag("save_as", str, RESULT, "float32 or bfloat16.", "PRECISION"),
}  # fmt: skip
PREFERENCE: dict[str, _Flag] = {
    "beta": _Flag(
        "preference.beta", float, LEARN, "How strongly the model is held near the one it starts from; unset: 0.1.", "X"
    ),
}
DPO: dict[str, _Flag] = {
    "loss": _Flag("preference.loss", str, LEARN, "sigmoid, ipo or hinge.", "NAME"),
    "reference": _Flag(
        "preference.reference",
        bool,
        LEARN,
        "Whether a pair counts by what it gained on the model it starts from (it does), or by likelihood itself.",
    ),
    "sft_share": _Flag("preference.sft", float, LEARN, "Add this much of the chosen completion's own loss.", "X"),
}
KTO: dict[str, _Flag] = {
    "desirable_weight": _Flag("preference.desirable_weight", float, LEARN, "Of good completions.", "X"),
    "undesirable_weight": _Flag("preference.undesirable_weight", float, LEARN, "Of bad ones.", "X"),
}
BY_METHOD = {"sft": FLAGS, "dpo": FLAGS | PREFERENCE | DPO, "kto": FLAGS | PREFERENCE | KTO, "": FLAGS}

Plan = Annotated[
    Path | None, typer.Argument(metavar="[PLAN.yaml]", help="The run as YAML (docs/training.md); options are laid over it.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other value of the plan, such as train.clip_norm=0.5; may be repeated."),
]


def takes_plan(method: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a plan; its parameter `given` receives them by the plan's own names."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        flags = BY_METHOD[method]
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name not in ("given", "plan")]

        def called(**values: Any) -> None:
            plan, sets = values.pop("plan"), values.pop("set_") or []
            given: dict[str, Any] = {}
            for name, flag in flags.items():
                value = values.pop(name)
                if value not in (None, []):
                    _put(given, flag.path, value)
            for each in sets:
                key, found, text = each.partition("=")
                if not found:
                    raise InputError(f"--set {each!r} has no value; write KEY=VALUE")
                _put(given, key, _yaml(text))
            function(**values, plan=plan, given=given)

        listed = [
            inspect.Parameter("plan", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plan),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own),
            *(_parameter(name, flag) for name, flag in flags.items()),
            inspect.Parameter("set_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Set),
        ]
        called.__name__, called.__doc__ = function.__name__, function.__doc__
        called.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in listed}
        return called

    return decorate


def plan_of(method: str, plan: Path | None, given: dict[str, Any], *, needs_out: bool = True) -> "TrainingPlan":
    """The plan of a file, with options laid over it. Raises InputError."""
    from ramify.training.plans import laid_over, plan_from, read_data

    over = dict(given)
    data = {} if plan is None else read_data(plan)
    said = data.get("method")
    if method and said not in (None, method):
        raise InputError(f"{plan} is a plan for {said}; run `ramify train {said} {plan}`")
    if method:
        over["method"] = method
    whole = laid_over(data, over)
    if not whole.get("rows") and not whole.get("workspace"):
        whole["workspace"] = _workspace()
    _name_filters(whole)
    if not whole.get("out"):
        whole["out"] = _out(whole, needs_out)
    return plan_from(whole)


def _name_filters(whole: dict[str, Any]) -> None:
    """Put filters in the place of what --filter said: names, or JSON. Raises InputError, NotFoundError."""
    select = whole.get("select")
    if not isinstance(select, Mapping) or not isinstance(select.get("filter"), list):
        return
    if whole.get("rows"):
        raise InputError("--filter is of a workspace's completions; of files every row is taken")
    from ramify.cli.selecting import conditions
    from ramify.cli.workspace import open_workspace

    with open_workspace(whole["workspace"]) as database:
        whole["select"] = {**select, "filter": {"all": conditions(database, [str(each) for each in select["filter"]])}}


def _workspace() -> str:
    from ramify.cli.workspace import place_meant

    return place_meant()


def _out(whole: dict[str, Any], needed: bool) -> str:
    from ramify.settings import Settings

    if whole.get("name"):
        return str(Settings.load().home / "trained" / str(whole["name"]))
    if not needed:
        return "."
    raise InputError("give --out, the folder for the result, or --name, under which it is kept in the data folder")


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    *before, last = path.split(".")
    for part in before:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise InputError(f"{path} is given, and {part} is {data!r}; it must be an object")
    data[last] = value


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set: {text!r} cannot be read as YAML: {error}") from None


def _parameter(name: str, flag: _Flag) -> inspect.Parameter:
    option = "--" + name.replace("_", "-")
    if flag.kind is bool:
        declared = typer.Option(f"{option}/--no-{option[2:]}", help=flag.help, rich_help_panel=flag.panel)
    else:
        declared = typer.Option(option, *flag.names, metavar=flag.metavar, help=flag.help, rich_help_panel=flag.panel)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[flag.kind | None, declared])
