"""The workspace: samples, completions, facets and judgements in one SQLite file, or in PostgreSQL.

    with Database.open("stories.ramify") as db:
        sample = db.samples.add("Once upon a time", title="A beginning")
        db.completions.add(sample.id, NewCompletion(text=" there was a hedgehog.", finish_reason="written"))
        db.history.undo()

It knows nothing of models, engines or HTTP: token ids and logprobs come in as numbers and go out as numbers.
"""

from ramify.store.database import Database
from ramify.store.filters import All, Anything, Filter, Not, Where
from ramify.store.records import (
    BeamNodeRecord,
    BeamTreeRecord,
    CompletionRecord,
    FacetRecord,
    ImageRecord,
    LogprobsRecord,
    NewCompletion,
    NewNode,
    PreferenceRecord,
    PromptRecord,
    RatingRecord,
    SampleRecord,
    SpanRecord,
    TagRecord,
    TokenLogprob,
)

__all__ = [
    "All",
    "Anything",
    "BeamNodeRecord",
    "BeamTreeRecord",
    "CompletionRecord",
    "Database",
    "FacetRecord",
    "Filter",
    "ImageRecord",
    "LogprobsRecord",
    "NewCompletion",
    "NewNode",
    "Not",
    "PreferenceRecord",
    "PromptRecord",
    "RatingRecord",
    "SampleRecord",
    "SpanRecord",
    "TagRecord",
    "TokenLogprob",
    "Where",
]
