"""Drafts of a model behind an endpoint: each has a thread that listens to its stream and keeps what comes."""

import threading
from collections.abc import Callable, Sequence

from ramify.decoding.config import GenerationConfig
from ramify.errors import EngineError, NotFoundError, RamifyError
from ramify.models.remote import Remote, RemoteStream
from ramify.store.database import Database
from ramify.store.records import SampleRecord, TokenLogprob
from ramify.workbench.draft_events import DraftEvent
from ramify.workbench.remote_writing import RemoteDraft

__all__ = ["RemoteRun", "remote_runs"]


class _Cancellable(RemoteDraft):
    """A remote draft that another thread can stop, whatever its endpoint is doing."""

    cancelled = False
    stream: RemoteStream | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if self.stream is not None:
            self.stream.cancel()

    def _stream(self) -> RemoteStream:
        self.stream = super()._stream()
        if self.cancelled:
            self.stream.cancel()
        return self.stream


class RemoteRun:
    """One draft under way. It tells text and no token ids."""

    ids: Sequence[int] = ()
    pieces: Sequence[str] = ()
    measured: Sequence[TokenLogprob] = ()
    measured_from = 0

    def __init__(self, draft: RemoteDraft, sample_id: int, text: str) -> None:
        self.id, self.sample_id = draft.record.id, sample_id
        self.text = text
        """What has arrived, with its prefill."""
        self.over = threading.Event()
        self._draft = draft

    def start(self, tell: "Callable[[RemoteRun, DraftEvent], None]") -> None:
        """tell: hears every event, on this draft's own thread."""
        threading.Thread(target=self._run, args=(tell,), name=f"ramify-draft-{self.id}", daemon=True).start()

    def cancel(self) -> None:
        """End the request; what had arrived is kept."""
        assert isinstance(self._draft, _Cancellable)
        self._draft.cancel()

    def _run(self, tell: "Callable[[RemoteRun, DraftEvent], None]") -> None:
        last = DraftEvent(number=0, draft=self.id, sample=self.sample_id, kind="end")
        try:
            for event in self._draft.events():
                if event.text:
                    tell(self, DraftEvent(number=0, draft=self.id, sample=self.sample_id, kind="tokens", text=event.text))
        except NotFoundError:  # its making was undone
            last = DraftEvent(number=0, draft=self.id, sample=self.sample_id, kind="gone")
        except Exception as error:
            told = error if isinstance(error, RamifyError) else EngineError(f"the draft failed: {type(error).__name__}: {error}")
            last = DraftEvent(number=0, draft=self.id, sample=self.sample_id, kind="error", error=told)
        finally:
            tell(self, last)
            self.over.set()


def remote_runs(
    database: Database,
    remote: Remote,
    sample: SampleRecord,
    config: GenerationConfig,
    *,
    prefill: str | None = None,
    n: int = 1,
    alternatives: int | None = None,
) -> list[RemoteRun]:
    """`n` drafts of a sample in the workspace, not begun yet. Draft i has the seed + i, where one is given.

    Raises UnsupportedError for what the endpoint cannot do, before anything is kept.
    """
    n = max(n, config.num_return_sequences)
    each = [
        config.replace(num_return_sequences=1, **({} if config.seed is None else {"seed": config.seed + i})) for i in range(n)
    ]
    with database.action("draft", remote.name):
        made = [_Cancellable(database, remote, sample, one, prefill=prefill, alternatives=alternatives) for one in each]
    return [RemoteRun(draft, sample.id, prefill or "") for draft in made]
