"""The workspace's routes under /api: the studio's API, and any script's. docs/api.md has them as a table.

`desk.py` is what they share; `shapes.py` what their shapes are made of. A route checks, asks the workbench or the store, and
shapes the answer; what it asks for is written and tested there. Routes that may wait for a model run in threads of their own.
"""

from fastapi import APIRouter

from ramify.api.workspace import (
    blocks,
    bulk,
    completions,
    draft_events,
    drafts,
    exporting,
    facets,
    history,
    importing,
    jobs,
    judging,
    lab,
    lab_events,
    library,
    models,
    quality,
    reports,
    samples,
    sessions,
    task_events,
    tokens,
    training,
    training_events,
    training_reports,
    training_scratch,
    tree_deciding,
    tree_growing,
    trees,
    uploads,
)
from ramify.api.workspace.shapes import ErrorShape

__all__ = ["router"]

router = APIRouter(prefix="/api", responses={"4XX": {"model": ErrorShape}, "5XX": {"model": ErrorShape}})
# The fixed paths of a room come before those with a number in them: /drafts/events before /drafts/{draft_id}.
for room in (
    *(library, bulk, samples, completions, tokens, draft_events, drafts, sessions, trees, tree_growing, tree_deciding, blocks),
    *(facets, judging, quality, lab_events, lab, jobs, history, models),
    *(uploads, importing, exporting, reports, task_events),
    *(training_events, training_reports, training_scratch, training),
):
    router.include_router(room.router)
