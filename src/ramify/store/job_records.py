"""What the workspace holds of batch jobs, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

__all__ = ["ENDED", "STATES", "FileRecord", "JobRecord", "JobRow", "JobState", "NewResult"]

JobState = Literal["queued", "running", "completed", "failed", "cancelled"]
STATES: tuple[JobState, ...] = ("queued", "running", "completed", "failed", "cancelled")
ENDED: tuple[JobState, ...] = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as it is at this moment."""

    id: int
    key: str
    """What it is called outside: job-… or batch_…"""
    state: JobState
    spec: Mapping[str, Any]
    """What is to be done, as `batch.spec.JobSpec` wrote it."""
    labels: Mapping[str, str]
    total: int | None
    """Rows; None until the input was read to its end."""
    taken: int
    """Rows that were read so far."""
    done: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    """Of the rows that are done."""
    run_s: float
    """Seconds of work so far, over all runs."""
    cancelling: bool
    """Whether somebody asked that it end."""
    workers: Mapping[str, Any] | None
    """How many processes work at it, and why so many: {"asked", "used", "why"}."""
    error: str | None
    """Why it failed."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def finished(self) -> int:
        """Rows that are done or failed."""
        return self.done + self.failed

    @property
    def left(self) -> int | None:
        """Rows still to do; None where nobody knows how many there are."""
        return None if self.total is None else self.total - self.finished

    @property
    def rows_per_s(self) -> float | None:
        return self.finished / self.run_s if self.run_s > 0 and self.finished else None

    @property
    def left_s(self) -> float | None:
        """Seconds to go at the rate so far."""
        if self.left is None or self.rows_per_s is None or self.state in ENDED:
            return None
        return self.left / self.rows_per_s


@dataclass(frozen=True, slots=True)
class JobRow:
    """One row of a job: what was asked, and what came of it last. error and result are None where nothing has yet."""

    number: int
    """From 0, in the order of the input."""
    state: Literal["waiting", "leased", "done", "failed"]
    request: str
    attempts: int
    error: str | None = None
    result: str | None = None
    """JSON; of a failed row, its error record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """What came of a row."""

    number: int
    result: str
    """JSON, as it will stand in the output."""
    error: str | None = None
    """Why it failed, in words."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file that a server was given."""

    id: int
    key: str
    name: str
    purpose: str
    size_bytes: int
    created_at: datetime
