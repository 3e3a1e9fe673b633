"""Everything Ramify raises on purpose.

RamifyError
├── InputError (also ValueError)      what was given cannot be used; the message says what is allowed and what to do
│   ├── ConfigError                   a generation setting: unknown, out of range, or contradicted by another
│   ├── ConstraintError               a schema, grammar, regular expression or word list that cannot be enforced
│   ├── RecordError                   a record of a file that cannot be used; the message names file and line
│   ├── PromptTooLongError            more tokens than the model's context window
│   ├── ModelNotFoundError            no model of that name or folder
│   ├── NotFoundError                 no sample, completion, facet, tag, filter or tree of that id or name
│   ├── UnsafeModelError              pickled weights or remote code, and nobody asked for them
│   └── UnsupportedError              this model or backend cannot do what was asked
├── WorkspaceError                    the workspace cannot be opened, read or written
│   └── NewerWorkspaceError           a newer Ramify made it
├── EngineError                       the engine failed; every request that it held is told
├── RemoteError                       an endpoint could not be reached, refused, or answered what cannot be used
└── CancelledError                    the request was cancelled before it finished
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "CancelledError",
    "ConfigError",
    "ConstraintError",
    "EngineError",
    "InputError",
    "ModelNotFoundError",
    "NewerWorkspaceError",
    "NotFoundError",
    "PromptTooLongError",
    "RamifyError",
    "RecordError",
    "RemoteError",
    "UnsafeModelError",
    "UnsupportedError",
    "WorkspaceError",
]


class RamifyError(Exception):
    """The root of the tree."""


class InputError(RamifyError, ValueError):
    """What was given cannot be used."""


class ConfigError(InputError):
    """A generation setting that cannot be honoured. `fields` names the settings involved."""

    def __init__(self, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)


class ConstraintError(InputError):
    """A constraint that cannot be enforced."""


class RecordError(InputError):
    """A record of a file that cannot be used."""

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        super().__init__(f"{file}{'' if line is None else f', line {line}'}: {reason}")
        self.file, self.line, self.reason = file, line, reason


class PromptTooLongError(InputError):
    """A prompt that leaves no room for a single new token."""

    def __init__(self, tokens: int, context_window: int) -> None:
        super().__init__(
            f"the prompt has {tokens} tokens; the model's context window holds {context_window}, "
            "one of which must stay free for the completion. Shorten the prompt or choose a model with a longer window."
        )
        self.tokens = tokens
        self.context_window = context_window


class ModelNotFoundError(InputError):
    """No model of that name or folder."""


class NotFoundError(InputError):
    """No sample, completion, facet, tag, filter or tree of that id or name."""


class UnsafeModelError(InputError):
    """Pickled weights or remote code, and nobody asked for them."""


class UnsupportedError(InputError):
    """This model or backend cannot do what was asked."""


class WorkspaceError(RamifyError):
    """The workspace cannot be opened, read or written: not one, read-only, disk full, busy too long, damaged."""


class NewerWorkspaceError(WorkspaceError):
    """A newer Ramify made this workspace."""


class EngineError(RamifyError):
    """The engine failed; every request that it held is told."""


class RemoteError(RamifyError):
    """An endpoint could not be reached, refused, or answered what cannot be used.

    status: the HTTP status, None where there was none. code: the endpoint's own word for the error. completions: what had
    arrived by then, one a completion (`models.remote.RemoteCompletion`), its text kept and its finish_reason `error`.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, completions: Sequence[Any] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.completions = tuple(completions)


class CancelledError(RamifyError):
    """The request was cancelled before it finished."""
