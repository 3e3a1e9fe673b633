"""Options that several commands share: which model, and every setting of a generation.

The settings' options are made from GenerationConfig's own fields, and their values are judged by it: what a setting may
hold, and what it says when it is refused, is written in one place.
"""

import dataclasses
import inspect
import json
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from rich.markup import escape

from ramify.decoding.config import ORDER, GenerationConfig
from ramify.decoding.presets import PRESETS
from ramify.errors import ConfigError, InputError

if TYPE_CHECKING:
    from ramify.engine.model import Model

__all__ = [
    "FIELDS",
    "MODEL",
    "Adapter",
    "AllowPickle",
    "Device",
    "ModelName",
    "Precision",
    "PresetName",
    "Revision",
    "TrustRemoteCode",
    "kind_of",
    "one_setting",
    "open_model",
    "read_text",
    "refuse_loading",
    "settings_from",
    "takes_model",
    "takes_settings",
]

Kind = Literal["flag", "number", "word", "text", "texts", "ids", "names", "json", "file"]

# The first setting of each panel of `--help`; the settings keep the order of GenerationConfig.
PANELS = {
    "max_new_tokens": "Length",
    "do_sample": "Sampling",
    "repetition_penalty": "Penalties and bans",
    "num_beams": "Search",
    "stop_strings": "Stopping",
    "json_schema": "Constraints",
    "pad_token_id": "Running",
}
METAVARS: dict[Kind, str] = {
    "number": "NUMBER",
    "word": "WORD",
    "text": "TEXT",
    "texts": "TEXT",
    "ids": "IDS",
    "names": "NAMES",
    "json": "JSON|@FILE",
    "file": "TEXT|@FILE",
}
HOW: dict[Kind, str] = {
    "texts": "; may be repeated",
    "ids": "; separated by commas, may be repeated",
    "names": "; separated by commas, may be repeated",
}
SHORT = {"num_return_sequences": "-n"}

MODEL = "Model"
"""The panel of `--help` for which model to run, and how."""


def _model_option(*names: str, metavar: str | None = None, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=MODEL)


def model_option(help: str) -> Any:
    """--model of a command where leaving it out means something of its own, which `help` says."""
    return _model_option("--model", "-m", metavar="NAME", help=help)


ModelName = Annotated[str, model_option("A name of `ramify models list`, a folder, gguf:PATH, or hf:org/name.")]
ImportFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--files",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="A folder from which files may be imported by path; may be repeated. Unset: only what is uploaded.",
    ),
]
BatchRoots = Annotated[
    list[str] | None,
    typer.Option(
        "--batch-root",
        metavar="FOLDER|URL",
        help="Where requests may have batches read and write; may be repeated. Unset: only uploaded files.",
    ),
]
AllowCodeEvaluator = Annotated[
    bool, typer.Option("--allow-code-evaluator", help="Let batches run the code that the model writes, in a sandbox.")
]
PresetName = Annotated[
    str | None, _model_option("--preset", metavar="NAME", help=f"Settings by name, under those given: {', '.join(PRESETS)}.")
]
Precision = Annotated[
    str | None,
    _model_option("--precision", metavar="WORD", help="float32 (the default), bfloat16, float16 or int8."),
]
Device = Annotated[str | None, _model_option("--device", metavar="WORD", help="cpu or cuda; unset: a GPU where there is one.")]
Adapter = Annotated[str | None, _model_option("--adapter", metavar="FOLDER", help="A PEFT LoRA folder laid over the weights.")]
Revision = Annotated[str | None, _model_option("--revision", metavar="NAME", help="Branch, tag or commit of a hub model.")]
AllowPickle = Annotated[bool, _model_option("--allow-pickle", help="Load pickled weights, which can run any code.")]
TrustRemoteCode = Annotated[bool, _model_option("--trust-remote-code", help="Run the model folder's own Python code.")]


def open_model(name: str, **how: Any) -> "Model":
    """Load a model without the libraries' progress bars and remarks."""
    import transformers

    from ramify.engine.model import load

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return load(name, **how)


def check_sandbox(wanted: bool) -> None:
    """Raises InputError where code is to be run, and cannot be run safely here; it says what is missing."""
    if wanted:
        from ramify.batch.sandbox import Sandbox

        Sandbox()


def refuse_loading(remote: str, how: Mapping[str, Any]) -> None:
    """Raises InputError where options say how a model is loaded, and it is a remote one."""
    asked = [option for option, value in how.items() if value not in (None, False)]
    if asked:
        raise InputError(f"--{asked[0].replace('_', '-')} is about loading a model, and {remote} is remote; leave it out")


def read_text(file: Path | str) -> str:
    """A UTF-8 file. Raises InputError where it cannot be read."""
    try:
        return Path(file).expanduser().read_text("utf-8")
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(file)!r} is not UTF-8 text ({error.reason} at byte {error.start})") from error


def kind_of(field: "dataclasses.Field[Any]") -> Kind:
    """How a setting is written on the command line, from its type."""
    if field.name == "processors":
        return "names"
    if field.name == "grammar":
        return "file"
    if field.name == "json_schema":
        return "json"
    origin = get_origin(field.type)
    members = [
        member
        for member in (get_args(field.type) if origin in (Union, types.UnionType) else (field.type,))
        if member is not type(None)
    ]
    if members == [bool]:
        return "flag"
    if any(get_origin(member) is Literal for member in members):
        return "word"
    if members == [str]:
        return "text"
    if members in ([tuple[str, ...]], [tuple[int, ...]]):
        return "texts" if members == [tuple[str, ...]] else "ids"
    return "number" if members in ([int], [float]) else "json"


FIELDS = {field.name: field for field in dataclasses.fields(GenerationConfig)}
LOADING = {
    "precision": Precision,
    "device": Device,
    "adapter": Adapter,
    "revision": Revision,
    "allow_pickle": AllowPickle,
    "trust_remote_code": TrustRemoteCode,
}


def takes_model(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of how a model is loaded; its parameter `how` receives them, as `open_model` takes them."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "how"]

    def called(**given: Any) -> None:
        how = {name: given.pop(name) for name in LOADING}
        function(**given, how=how)

    return _with_options(
        called,
        function,
        own,
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if option in (AllowPickle, TrustRemoteCode) else None,
                annotation=option,
            )
            for name, option in LOADING.items()
        ],
    )


def _with_options(
    called: Callable[..., None],
    function: Callable[..., None],
    own: list[inspect.Parameter],
    options: list[inspect.Parameter],
) -> Callable[..., None]:
    """`called` with the name and words of `function`, and a signature that has the options after its own parameters."""
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    last = [p for p in keyword if p.name == "settings"]
    listed = [p for p in keyword if p.name != "settings"] + options + last
    called.__name__ = function.__name__
    called.__doc__ = function.__doc__
    called.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in listed}
    return called


def takes_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option a setting; its parameter `settings` receives those that were given, as a dict."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "settings"]

    def called(**given: Any) -> None:
        texts = {name: given.pop(name) for name in FIELDS}
        settings = {name: one_setting(name, text) for name, text in texts.items() if text not in (None, [])}
        function(**given, settings=settings)

    panel, options = "", []
    for name, field in FIELDS.items():
        panel = PANELS.get(name, panel)
        options.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(field, panel)))
    return _with_options(called, function, own, options)


def _option(field: "dataclasses.Field[Any]", panel: str) -> Any:
    kind = kind_of(field)
    flag = "--" + field.name.replace("_", "-")
    told = field.metadata["help"]
    if kind != "flag":
        told += f" [{field.metadata['allowed']}{HOW.get(kind, '')}]"
    told = escape(told)
    if kind == "flag":
        negative = "--no-" + field.name.replace("_", "-")
        return Annotated[bool | None, typer.Option(f"{flag}/{negative}", help=told, rich_help_panel=panel)]
    short = [SHORT[field.name]] if field.name in SHORT else []
    option = typer.Option(flag, *short, help=told, rich_help_panel=panel, metavar=METAVARS[kind])
    repeated = kind in ("texts", "ids", "names")
    return Annotated[list[str] | None, option] if repeated else Annotated[str | None, option]


def one_setting(name: str, given: Any) -> Any:
    """What a setting's text on the command line means; what cannot be read is left for GenerationConfig to refuse."""
    field = FIELDS[name]
    kind = kind_of(field)
    if kind == "number":
        return _number(given)
    if kind == "word":
        return {"true": True, "false": False}.get(given.lower(), given)
    if kind in ("ids", "names"):
        parts = [part.strip() for text in given for part in text.strip("[] ").split(",")]
        return [_number(part) for part in parts] if kind == "ids" else parts
    if kind == "file":
        return read_text(given[1:]) if given.startswith("@") else given
    if kind == "json":
        text = read_text(given[1:]) if given.startswith("@") else given
        return text if name == "json_schema" else _json(name, text)
    return given


def _number(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{name} is {text!r}, which is not JSON ({error}); it must be {FIELDS[name].metadata['allowed']}, written as JSON",
            (name,),
        ) from None


def settings_from(
    given: Mapping[str, Any], preset: str | None = None, defaults: Mapping[str, Any] | None = None
) -> GenerationConfig:
    """A model's own defaults, a preset over them, and what was given over both. Raises ConfigError.

    A model that says `do_sample: false` does not keep a preset or an option from sampling.
    """
    asked = {**(_preset(preset) if preset is not None else {}), **given}
    under = dict(defaults or {})
    if under.get("do_sample") is False and any(
        name in asked for name in ("temperature", *ORDER[ORDER.index("temperature") + 1 :])
    ):
        under.pop("do_sample", None)
    return GenerationConfig.from_dict({**under, **asked})


def _preset(name: str) -> dict[str, Any]:
    GenerationConfig.preset(name)
    return dict(PRESETS[name].fields)
