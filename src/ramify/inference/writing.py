"""A writer: goes on with a story, draws a character, lets people talk."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError, InputError
from ramify.inference.models import opened, single

if TYPE_CHECKING:
    from ramify.engine.model import Model

__all__ = ["STYLES", "CreativeWriter", "Style"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """What the model is told, and the settings that hold where none were given."""

    told: str
    settings: Mapping[str, Any]


STYLES: dict[str, Style] = {
    "creative": Style(told="with fresh images and turns that surprise", settings={"temperature": 1.0, "top_p": 0.95}),
    "plain": Style(told="in plain, short sentences", settings={"temperature": 0.5, "top_p": 0.9}),
    "descriptive": Style(
        told="with many details of what can be seen, heard and smelt", settings={"temperature": 0.8, "top_p": 0.92}
    ),
    "humorous": Style(told="so that it makes the reader laugh", settings={"temperature": 1.1, "top_p": 0.95}),
    "dark": Style(told="in a dark and tense mood", settings={"temperature": 0.9, "top_p": 0.92}),
    "children": Style(told="for young children, warm and simple", settings={"temperature": 0.7, "top_p": 0.9}),
}
"""Each style's effect. A style tells the model how to write, and sets the sampling that the given config leaves unset."""

SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?=\s|$)")
_INSIDE = "[^\\x00-\\x1f\\x7f\u0085\u2028\u2029:.!?]"
LINE = rf' [A-Za-z0-9"“‘\']{_INSIDE}{{1,200}}[.!?]'
"""What one person says at a time: one sentence."""


class CreativeWriter:
    """Writes in a style. A model with a chat template is asked in words; any other gets a raw text that it goes on with.

    style: a name of STYLES. config: goes before what the style would set. Raises InputError for an unknown style.
    """

    def __init__(
        self,
        model_path: "str | Path | Model" = "tiny",
        tokenizer_path: str | Path | None = None,
        style: str = "creative",
        config: GenerationConfig | None = None,
        *,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        if style not in STYLES:
            raise InputError(f"style is {style!r}; it must be one of {', '.join(STYLES)}")
        self.style = style
        given = single(config, settings, "CreativeWriter")
        sampling = ("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "penalty_alpha", "num_beams")
        default = GenerationConfig()
        if all(getattr(given, name) == getattr(default, name) for name in sampling) and given.beam_rule == "standard":
            given = given.replace(**STYLES[style].settings)
        self.config = given
        self.model = opened(model_path, tokenizer_path, device=device)

    def continue_story(self, story: str, length: int = 300, **settings: Any) -> str:
        """What comes after `story`: at most `length` words, ending with the last whole sentence within them.

        It is shorter where the model ends it. A single sentence longer than `length` is cut at `length` words.
        """
        _check("length", length, 1, 100_000)
        _check_text("story", story)
        asked = f"Continue this story {STYLES[self.style].told}."
        return self._within(self._pieces(asked, story, settings), length)

    def develop_character(self, description: str, length: int = 120, **settings: Any) -> str:
        """A sketch of a character in at most `length` words: who it is, how it looks, what it wants."""
        _check("length", length, 1, 100_000)
        _check_text("description", description)
        asked = f"Describe a character {STYLES[self.style].told}: {description}. Say who it is, how it looks and what it wants."
        return self._within(self._pieces(asked, "", settings), length).strip()

    def generate_dialogue(
        self, situation: str, turns: int = 6, *, speakers: tuple[str, str] = ("A", "B"), **settings: Any
    ) -> str:
        """Exactly `turns` lines, each `speaker: what is said`, the speakers taking turns; a line ends as a sentence does.

        A line holds at most 200 characters. Raises ConfigError for settings that would end it, or form it, otherwise.
        """
        _check("turns", turns, 1, 1000)
        _check_text("situation", situation)
        if (
            len(speakers) != 2
            or not all(isinstance(name, str) and name.strip() for name in speakers)
            or speakers[0] == speakers[1]
        ):
            raise InputError(f"speakers is {speakers!r}; give two different names")
        asked = f"Write a dialogue {STYLES[self.style].told}: {situation}."
        config = single(self.config, settings, "generate_dialogue")
        for name in ("max_new_tokens", "max_length", "regex"):
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"{name} is {getattr(config, name)!r}, and each line of a dialogue is one whole sentence of at most 200 "
                    f"characters; leave it out ({name}=None where the writer's own config has it)",
                    (name,),
                )
        lines: list[str] = []
        for turn in range(turns):
            start = "".join(f"{line}\n" for line in lines) + f"{speakers[turn % 2]}:"
            one = config.replace(regex=LINE, seed=None if config.seed is None else config.seed + turn)
            prompt, prefill = self._prompt(asked, start)
            said = self.model.complete(prompt, one, prefill=prefill, logprobs=None).generated_text.strip()
            lines.append(f"{speakers[turn % 2]}: {said}")
        return "\n".join(lines)

    def _prompt(self, asked: str, start: str) -> tuple[Any, str | None]:
        if self.model.chat is None:
            return f"{asked}\n\n{start}", None
        return [{"role": "user", "content": asked}], start or None

    def _pieces(self, asked: str, start: str, settings: dict[str, Any]) -> Any:
        config = single(self.config, settings, "CreativeWriter")
        prompt, prefill = self._prompt(asked, start)
        return self.model.stream(prompt, config, prefill=prefill, logprobs=None)

    def _within(self, events: Any, length: int) -> str:
        """The events' text up to `length` words; the model is stopped when there are more."""
        text: str = ""
        for event in events:
            text += event.text
            if len(text.split()) > length:
                events.close()
                break
        else:
            return text
        last = list(re.finditer(r"\S+", text))[length - 1].end()
        cut = text[:last]
        ends = [found.end() for found in SENTENCE_END.finditer(cut)]
        return cut[: ends[-1]] if ends else cut


def _check(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")


def _check_text(name: str, text: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{name} is {text!r}; it must be text that is not empty")
