"""Prompts from parts: a text with named gaps, and examples before a question."""

import string
from collections.abc import Mapping, Sequence

from ramify.errors import InputError

__all__ = ["PromptTemplate", "few_shot"]


class PromptTemplate:
    """A text with gaps such as {topic}; a brace that is meant is doubled. Gaps are plain names: nothing is evaluated."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise InputError(f"the template {text!r} cannot be read ({error}); write a brace that is meant twice") from error
        self.names = tuple(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
        for _, name, form, conversion in parts:
            if name is not None and (not name.isidentifier() or form or conversion):
                shown = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
                raise InputError(f"the template has the gap {{{shown}}}; a gap is a plain name such as {{topic}}")

    def fill(self, **values: object) -> str:
        """The text with its gaps filled. Raises InputError for a gap without a value, and for a value without a gap."""
        missing = [name for name in self.names if name not in values]
        extra = [name for name in values if name not in self.names]
        if missing or extra:
            raise InputError(
                f"the template has the gaps {', '.join(self.names) or 'none'}; missing: {', '.join(missing) or 'none'}, "
                f"unknown: {', '.join(extra) or 'none'}"
            )
        return string.Formatter().vformat(self.text, (), values)


def few_shot(
    examples: Sequence[Mapping[str, str]] | Sequence[tuple[str, str]],
    query: str,
    *,
    instruction: str = "",
    labels: tuple[str, str] = ("Input", "Output"),
) -> str:
    """Examples, then the query, each as `label: text`, with a blank line between; it ends where the answer begins.

    examples: pairs, or mappings with `labels` as keys. labels: what stands before question and answer. Raises InputError.
    """
    ask, answer = labels
    blocks = [instruction] if instruction else []
    for place, example in enumerate(examples):
        if isinstance(example, Mapping):
            if set(example) != {ask, answer}:
                raise InputError(f"example {place} is {dict(example)!r}; it must have {ask!r} and {answer!r}")
            pair = (example[ask], example[answer])
        elif isinstance(example, tuple | list) and len(example) == 2:
            pair = (example[0], example[1])
        else:
            raise InputError(f"example {place} is {example!r}; give a pair, or a mapping with {ask!r} and {answer!r}")
        blocks.append(f"{ask}: {pair[0]}\n{answer}: {pair[1]}")
    return "\n\n".join([*blocks, f"{ask}: {query}\n{answer}:"])
