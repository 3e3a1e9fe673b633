"""Answers in Anthropic's Messages protocol, whole or in events, read as the chunks that `Answer` takes."""

from collections.abc import Mapping
from typing import Any

from ramify.models.remote_answers import Answer, RemoteEvent

__all__ = ["MessagesAnswer"]

WITHOUT_TEXT = ("ping", "content_block_start", "content_block_stop", "message_stop")


class MessagesAnswer(Answer):
    """An answer of one completion. Text blocks are its text, thinking blocks what it thought aloud; other blocks are left out."""

    def __init__(self, *asked: Any) -> None:
        super().__init__(*asked)
        self._counted: dict[str, int] = {}

    def feed(self, data: object) -> list[RemoteEvent]:
        """Take an event, or a whole message. Raises RemoteError for what is neither."""
        if not isinstance(data, Mapping) or not isinstance(kind := data.get("type"), str):
            raise self.error(f"answered JSON that is no message and no event: {self._shown(data)}")
        if kind == "message":
            return super().feed(self._chunk(data, self._blocks(data), data))
        if kind == "message_start" and isinstance(message := data.get("message"), Mapping):
            return super().feed(self._chunk(message, self._blocks(message), message))
        if kind == "content_block_delta" and isinstance(delta := data.get("delta"), Mapping):
            return super().feed({"choices": [{"delta": _said(delta)}]})
        if kind == "message_delta" and isinstance(delta := data.get("delta"), Mapping):
            return super().feed(self._chunk({"usage": data.get("usage")}, {}, delta))
        if kind in WITHOUT_TEXT:
            # A block's beginning is empty, but may be none in later versions of the protocol.
            block = data.get("content_block")
            return super().feed({"choices": [{"delta": _said(block)}]}) if isinstance(block, Mapping) else []
        if kind == "error":
            raise self.error(f"ended its stream with an error: {self._shown(data.get('error'))}")
        return []  # the protocol says that events may be added, to be skipped

    def _chunk(self, about: Mapping[str, Any], said: Mapping[str, Any], ending: Mapping[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {"message": said}
        if ending.get("stop_reason"):
            choice |= {"finish_reason": ending["stop_reason"], "stop_reason": ending.get("stop_sequence")}
        return {"id": about.get("id"), "model": about.get("model"), "usage": self._usage_of(about), "choices": [choice]}

    def _blocks(self, message: Mapping[str, Any]) -> dict[str, Any]:
        blocks = message.get("content")
        if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
            raise self.error(f"answered a message whose content is no list of blocks: {self._shown(message)}")
        said = [_said(block) for block in blocks]
        return {name: "".join(part[name] for part in said if name in part) for name in ("content", "reasoning")}

    def _usage_of(self, about: Mapping[str, Any]) -> dict[str, Any] | None:
        """Counts come at both ends of a stream, those at the end as totals."""
        given = about.get("usage")
        if isinstance(given, Mapping):
            self._counted |= {name: count for name, count in given.items() if isinstance(count, int)}
        if not self._counted:
            return None
        read, written = (self._counted.get(f"cache_{what}_input_tokens", 0) for what in ("read", "creation"))
        return {
            # Its input_tokens are those that no cache had or took.
            "prompt_tokens": self._counted.get("input_tokens", 0) + read + written,
            "completion_tokens": self._counted.get("output_tokens", 0),
            "prompt_tokens_details": {"cached_tokens": read},
        }


def _said(part: Mapping[str, Any]) -> dict[str, str]:
    """What a block or a delta adds; nothing of kinds other than text and thinking."""
    if isinstance(text := part.get("text"), str) and part.get("type") in ("text", "text_delta"):
        return {"content": text}
    if isinstance(thought := part.get("thinking"), str):
        return {"reasoning": thought}
    return {}
