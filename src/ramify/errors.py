"""Everything Ramify raises on purpose.

RamifyError
├── InputError (also ValueError)      what was given cannot be used; the message says what is allowed and what to do
│   ├── ConfigError                   a generation setting: unknown, out of range, or contradicted by another
│   ├── MessageError                  a message of a conversation; `where` is its path, such as messages[2].content
│   ├── ConstraintError               a schema, grammar, regular expression or word list that cannot be enforced
│   ├── RecordError                   a record of a file that cannot be used; the message names file and line
│   ├── PromptTooLongError            more tokens than the model's context window
│   ├── NotFoundError                 nothing of that id or name: sample, completion, facet, tag, filter, tree (404 of a service)
│   │   └── ModelNotFoundError        no model of that name or folder
│   ├── StaleError                    a record was changed by somebody else since it was read
│   ├── UnsafeModelError              pickled weights or remote code, and nobody asked for them
│   └── UnsupportedError              this model or backend cannot do what was asked
├── WorkspaceError                    the workspace cannot be opened, read or written
│   └── NewerWorkspaceError           a newer Ramify made it
├── EngineError                       the engine failed; every request that it held is told
├── RemoteError                       an endpoint could not be reached, refused, or answered what cannot be used
│   ├── BadRequestError               400 or 422, also InputError: a parameter, or what it asks for, cannot be used
│   ├── UnauthorizedError             401: no key, or one that is not known
│   ├── ForbiddenError                403: a key that may not do this
│   ├── ConflictError                 409: something else is going on with the same thing
│   ├── RateLimitExceededError        429: busy; `retry_after` says when to ask again
│   └── ServerError                   5xx: the service failed
└── CancelledError                    the request was cancelled before it finished
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "BadRequestError",
    "CancelledError",
    "ConfigError",
    "ConflictError",
    "ConstraintError",
    "EngineError",
    "ForbiddenError",
    "InputError",
    "MessageError",
    "ModelNotFoundError",
    "NewerWorkspaceError",
    "NotFoundError",
    "PromptTooLongError",
    "RamifyError",
    "RateLimitExceededError",
    "RecordError",
    "RemoteError",
    "ServerError",
    "StaleError",
    "UnauthorizedError",
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


class MessageError(InputError):
    """Messages that cannot be used. `where` is the path of what is to blame: messages, or a part such as messages[2].content."""

    def __init__(self, message: str, where: str = "messages") -> None:
        super().__init__(message)
        self.where = where


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


class NotFoundError(InputError):
    """Nothing of that id or name: no sample, completion, facet, tag, filter, tree, or whatever a service was asked for."""

    status = 404


class ModelNotFoundError(NotFoundError):
    """No model of that name or folder."""


class StaleError(InputError):
    """A record was changed by somebody else since it was read."""


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


class BadRequestError(RemoteError, InputError):
    """A parameter, or what it asks for, cannot be used: 400 of a service, or 422. `param` names it where one is to blame."""

    def __init__(self, message: str, *, status: int | None = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, status=status, code=code)
        self.param = param


class UnauthorizedError(RemoteError):
    """401: no key, or one that is not known."""


class ForbiddenError(RemoteError):
    """403: a key that may not do this."""


class ConflictError(RemoteError):
    """409: something else is going on with the same thing."""


class RateLimitExceededError(RemoteError):
    """429: busy. retry_after: the seconds after which to ask again, None where the service did not say."""

    def __init__(
        self, message: str, *, status: int | None = 429, retry_after: float | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_after = retry_after


class ServerError(RemoteError):
    """5xx: the service failed, or a proxy before it."""


class CancelledError(RamifyError):
    """The request was cancelled before it finished."""
