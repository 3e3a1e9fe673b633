"""Templates that came with a model's weights: programs of strangers, run in jinja's immutable sandbox with bounded results."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from ramify.errors import InputError, MessageError

__all__ = ["SandboxedTemplate"]

LARGEST_NUMBER = 1_000_000
"""The largest width, count or product that a template may ask for."""
LARGEST_TEXT = 50_000_000
"""Characters that one operation inside a template may make."""


class SandboxedTemplate:
    """One jinja template, compiled in the sandbox."""

    def __init__(self, source: str, name: str) -> None:
        import jinja2

        self._jinja = jinja2
        self._source = source
        self._environment = environment()
        try:
            self._template = self._environment.from_string(source)
        except jinja2.TemplateError as error:
            raise InputError(f"the model's chat template {name!r} is not valid jinja: {error}") from error

    def render(self, values: Mapping[str, Any]) -> str:
        """The template's text.

        Raises MessageError with the template's own words when it refuses, fails, or writes without end.
        """
        limit = 4_000_000 + 8 * _characters(list(values.values()))
        written: list[str] = []
        size = 0
        try:
            for part in self._template.generate(**values):
                written.append(part)
                size += len(part)
                if size > limit:
                    raise MessageError(
                        f"the chat template wrote more than {limit:,} characters for this conversation, and was stopped"
                    )
        except self._jinja.UndefinedError as error:
            raise MessageError(
                f"the chat template needs a value that was not given: {error}; pass it by name beside the messages"
            ) from error
        except self._jinja.TemplateError as error:
            raise MessageError(f"the chat template refuses this conversation: {error}") from error
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
            if isinstance(error, MessageError):
                raise
            raise MessageError(f"the chat template cannot render this conversation: {type(error).__name__}: {error}") from error
        return "".join(written)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads."""
        import jinja2.meta

        return frozenset(jinja2.meta.find_undeclared_variables(self._environment.parse(self._source)))

    def writes(self, text: str) -> bool:
        """Whether the template itself writes this text.

        One that it also looks for in contents (`'<think>' in content`) does not count: such a template takes contents
        apart, and writes their parts anew.
        """
        written, looked_for = self._literals
        return any(text in literal for literal in written) and not any(text in literal for literal in looked_for)

    def stops_at(self, endings: Iterable[str]) -> bool:
        """Whether a text in the template ends with one of these."""
        written, _ = self._literals
        return any(literal.endswith(tuple(endings)) for literal in written)

    @cached_property
    def _literals(self) -> tuple[list[str], list[str]]:
        """The texts in the template, and those of them that are compared with something or given to a method."""
        nodes = self._jinja.nodes
        tree = self._environment.parse(self._source)
        asking: list[Any] = [*tree.find_all(nodes.Compare)]
        for call in tree.find_all((nodes.Call, nodes.Filter, nodes.Test)):
            if not isinstance(call, nodes.Call) or isinstance(call.node, nodes.Getattr):
                asking.extend(call.args)
        inside = [const for node in asking for const in node.find_all(nodes.Const)] + asking
        looked_for = [node.value for node in inside if isinstance(node, nodes.Const) and isinstance(node.value, str)]
        written = [node.data for node in tree.find_all(nodes.TemplateData)]
        written += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
        return written, looked_for


def environment() -> Any:
    """The sandbox, with what the library's own templates may use: loop controls, `raise_exception`, a plain `tojson`."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}…{% endgeneration %}` marks words for training; here only its content counts."""

        tags = frozenset({"generation"})  # type: ignore[assignment]

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**":
                refuse("`**` is not available to chat templates")
            if operator == "%" and isinstance(left, str):
                _bound("format", left, right if isinstance(right, tuple) else (right,), refuse)
            for sized, count in ((left, right), (right, left)):
                multiplied = operator == "*" and hasattr(sized, "__len__") and isinstance(count, int)
                if multiplied and len(sized) * count > LARGEST_NUMBER:
                    refuse(f"a `*` would make more than {LARGEST_NUMBER:,} items")
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, called: Any, *args: Any, **kwargs: Any) -> Any:
            owner = getattr(called, "__self__", None)
            if isinstance(owner, str):
                _bound(called.__name__, owner, (*args, *kwargs.values()), refuse)
            return super().call(context, called, *args, **kwargs)

        def wrap_str_format(self, value: Any) -> Any:
            wrapped = super().wrap_str_format(value)
            if wrapped is None:
                return None

            def bounded(*args: Any, **kwargs: Any) -> str:
                _bound(value.__name__, value.__self__, (*args, *kwargs.values()), refuse)
                return wrapped(*args, **kwargs)

            return bounded

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(
        value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = to_json
    made.filters |= {name: _bounded(name, function, refuse) for name, function in made.filters.items()}
    made.globals["raise_exception"] = refuse
    return made


def _bounded(name: str, function: Any, refuse: Callable[[str], None]) -> Any:
    """A filter whose numbers and results are bounded."""

    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        texts = [i for i, value in enumerate(args[:2]) if isinstance(value, str)]
        if name == "join" and len(args) > 1:
            separator = next((part for part in (*args[2:3], kwargs.get("d")) if isinstance(part, str)), "")
            _bound(name, separator, args[1:2], refuse)
        elif texts:
            _bound(name, args[texts[0]], (*args[texts[0] + 1 :], *kwargs.values()), refuse)
        return function(*args, **kwargs)

    return filtered


def _bound(name: str, text: str, arguments: Sequence[Any], refuse: Callable[[str], None]) -> None:
    """Refuse an operation on a text whose result could be out of all proportion to what it is given."""
    if any(isinstance(number, int) and abs(number) > LARGEST_NUMBER for number in arguments):
        refuse(f"{name} was given a number above {LARGEST_NUMBER:,}")
    if name in ("format", "format_map") and re.search(r"\d{7,}", text):
        refuse(f"a format asks for a width above {LARGEST_NUMBER:,}")
    if name in ("replace", "join"):
        longest = max((len(argument) for argument in arguments if isinstance(argument, str)), default=0)
        pieces = text.count(str(arguments[0])) if name == "replace" and arguments else 0
        if name == "join" and arguments and hasattr(arguments[0], "__len__"):
            longest, pieces = len(text), len(arguments[0])
        if longest * pieces > LARGEST_TEXT:
            refuse(f"{name} would make more than {LARGEST_TEXT:,} characters")


def _characters(value: Any) -> int:
    """How long all texts inside a value are."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, Sequence) else 0
