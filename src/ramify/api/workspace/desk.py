"""What the workspace's routes share: the open workspace, its models, and the work in hand that no file holds.

One desk a server. Its routes run in threads; what takes turns has a lock of its own.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Generic, ParamSpec, Protocol, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, Request
from starlette.types import Receive

from ramify.api.errors import ApiError
from ramify.api.model_pool import ModelPool
from ramify.api.state import ServerState
from ramify.api.waiting import client_gone
from ramify.api.workspace.lab_work import LabsAtWork
from ramify.api.workspace.tasks import Tasks
from ramify.api.workspace.training_work import TrainingsAtWork
from ramify.api.workspace.upload_folders import Uploads
from ramify.engine.model import Model
from ramify.engine.waiting import Waiter
from ramify.errors import CancelledError, ModelNotFoundError, NotFoundError, UnsupportedError
from ramify.models.base import TextCodec
from ramify.models.registry import is_remote
from ramify.models.remote import Remote, connect
from ramify.store.database import Database
from ramify.store.records import CompletionRecord
from ramify.workbench.asking import AnyModel
from ramify.workbench.beam_tree import BeamTree
from ramify.workbench.blocks import Blocks
from ramify.workbench.drafting import Drafting
from ramify.workbench.token_branching import Picking
from ramify.workbench.workspace import DEFAULT_MODEL, Workspace

__all__ = ["Desk", "DeskState", "Held", "OpenBlocks", "Shelf"]

IDLE_S = 3600.0
LONG_CALLS = 32
"""Calls that wait for a model at once; the others' requests keep the threads they need."""

P = ParamSpec("P")
T = TypeVar("T")


class _Closes(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closes)


@dataclass(eq=False)
class Held(Generic[C]):
    """A thing on a shelf. Who works with it holds the lock."""

    key: str
    thing: C
    sample_id: int
    lock: threading.RLock = field(default_factory=threading.RLock)
    used_at: float = field(default_factory=time.monotonic)


class Shelf(Generic[C]):
    """Things in hand, by key: the longest unused goes first when there are too many, all go after an hour unused."""

    def __init__(self, what: str, most: int) -> None:
        self._what, self._most = what, most
        self._held: OrderedDict[str, Held[C]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, thing: C, sample_id: int, key: str | None = None) -> Held[C]:
        held = Held(key or secrets.token_urlsafe(9), thing, sample_id)
        with self._lock:
            gone = [self._held.pop(k) for k in [k for k, h in self._held.items() if time.monotonic() - h.used_at > IDLE_S]]
            self._held[held.key] = held
            while len(self._held) > self._most:
                gone.append(self._held.popitem(last=False)[1])
        self._close(gone)
        return held

    @contextlib.contextmanager
    def using(self, key: str) -> Iterator[Held[C]]:
        """The thing, for this thread alone. Raises NotFoundError."""
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
        if held is None:
            raise NotFoundError(
                f"there is no {self._what} {key!r}; it was left for an hour, or the server began anew. Start another"
            )
        with held.lock:
            held.used_at = time.monotonic()
            yield held

    def all(self) -> Sequence[Held[C]]:
        with self._lock:
            return tuple(self._held.values())

    def drop(self, key: str) -> None:
        """Raises NotFoundError."""
        with self.using(key), self._lock:
            gone = self._held.pop(key)
        self._close([gone])

    def clear(self) -> None:
        with self._lock:
            gone = list(self._held.values())
            self._held.clear()
        self._close(gone)

    @staticmethod
    def _close(gone: Sequence[Held[C]]) -> None:
        for held in gone:
            with held.lock:
                held.thing.close()


class OpenBlocks(Blocks):
    """Blocks have nothing to give back."""

    def close(self) -> None:
        return None


class Desk:
    """The workspace as one server holds it."""

    def __init__(self, workspace: Workspace, models: ModelPool) -> None:
        self.workspace, self.models = workspace, models
        self.database: Database = workspace.database
        self.drafting = Drafting(self.database)
        self.sessions: Shelf[Picking] = Shelf("session", 64)
        self.blocks: Shelf[OpenBlocks] = Shelf("session of blocks", 64)
        self.trees: Shelf[BeamTree] = Shelf("open tree", 8)
        self.tasks = Tasks()
        self.uploads = Uploads()
        self.labs = LabsAtWork(self.database)
        self.trainings = TrainingsAtWork(self.database)
        self._remotes: dict[str, Remote] = {}
        self._opening = threading.Lock()
        self._long: anyio.CapacityLimiter | None = None

    # ------------------------------------------------------------ models

    def target(self, name: str | None, facet: str | None = None) -> str:
        """The name of the model that is meant: the one named, or the facet's, or the workspace's."""
        if name is None and facet is not None:
            return self.database.facets.effective(facet).target_model
        return name or self.database.settings.get("target_model") or DEFAULT_MODEL

    def any_model(self, name: str | None = None, facet: str | None = None) -> AnyModel:
        """The same, loaded or connected to. Raises ModelNotFoundError for one that this server does not have."""
        if facet is not None:
            self.database.facets.get(facet)
        found = self.target(name, facet)
        if found in self.models.names() or not is_remote(found):
            return self.models.get(found)
        with self._opening:
            if found not in self._remotes:
                self._remotes[found] = connect(found)
            return self._remotes[found]

    def model(self, name: str | None = None, facet: str | None = None) -> Model:
        """The same, where it must decode branches here. Raises UnsupportedError for a remote one."""
        found = self.any_model(name, facet)
        if isinstance(found, Remote):
            raise UnsupportedError(f"{found.name} is remote and shows no distribution, so this needs a local model; name one")
        return found

    def model_for(self, completion: CompletionRecord, name: str | None = None) -> Model:
        """The model named, else the one that made the completion, else the workspace's."""
        return self.model(name if name is not None else self.maker_name(completion))

    def maker(self, completion: CompletionRecord) -> Model | None:
        """The model that made it, where this server has it."""
        if not completion.fingerprint:
            return None
        try:
            return self.models.get(completion.model)
        except ModelNotFoundError:
            return None

    @staticmethod
    def maker_name(completion: CompletionRecord) -> str | None:
        """The name of the model that made it; None for what was typed or pasted."""
        return completion.model if completion.fingerprint else None

    def codec_of(self, completion: CompletionRecord) -> Callable[[], TextCodec]:
        """The tokenizer of the completion's own model, loaded when it is asked for."""
        return lambda: self.models.get(completion.model).codec

    # ------------------------------------------------------------ the work

    def new_blocks(self, sample_id: int, model: Model, border: str) -> Held[OpenBlocks]:
        blocks = OpenBlocks(self.database, model, self.database.samples.get(sample_id), border=border)
        return self.blocks.put(blocks, sample_id)

    @contextlib.contextmanager
    def tree(self, tree_id: int) -> Iterator[BeamTree]:
        """An open tree, for this thread alone; its keys and values stay for the next time. Raises NotFoundError."""
        key = str(tree_id)
        record = self.database.beams.get(tree_id)
        with self._opening:
            if all(held.key != key for held in self.trees.all()):
                self.trees.put(BeamTree(self.database, self.models.get(record.model), tree_id), record.sample_id, key)
        with self.trees.using(key) as held:
            yield held.thing

    async def waiting(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that may wait long for a model, in a thread of its own kind, so that quick ones never queue behind it.

        When the client leaves, what the call waits for is cancelled; it ends before it has changed anything.
        """
        if self._long is None:
            self._long = anyio.CapacityLimiter(LONG_CALLS)
        waiter, receive = Waiter(), _receive.get()
        gone = asyncio.create_task(client_gone(receive)) if receive is not None else None
        if gone is not None:
            gone.add_done_callback(lambda ended: None if ended.cancelled() else waiter.leave())
        try:
            with waiter.here():
                return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._long)
        except CancelledError as error:
            raise ApiError(499, "the client left before its answer was there", code="cancelled") from error
        finally:
            if gone is not None:
                gone.cancel()

    def close(self) -> None:
        """Cancel what is being made, keep its text, and give the memory back."""
        self.tasks.close()
        self.uploads.close()
        self.drafting.close()
        self.labs.close()
        for shelf in (self.sessions, self.blocks, self.trees):
            shelf.clear()
        for remote in self._remotes.values():
            remote.close()


_making = threading.Lock()
_receive: ContextVar[Receive | None] = ContextVar("receive", default=None)
"""Of the request at hand: how its route hears that the client left."""


async def desk_of(request: Request, server: ServerState) -> Desk:
    """The desk of this server, made when it is first needed. Raises ApiError where there is no workspace, or it drains."""
    _receive.set(request.receive)
    found: Desk | None = getattr(request.app.state, "desk", None)
    if found is None:
        with _making:
            found = getattr(request.app.state, "desk", None)
            if found is None:
                found = request.app.state.desk = Desk(server.workspace_or_refuse(), server.models)
                server.on_stop.append(found.close)
    if server.draining and request.method != "GET":
        raise ApiError(503, "the server is on its way to stop; nothing new begins", code="draining")
    return found


DeskState = Annotated[Desk, Depends(desk_of)]
