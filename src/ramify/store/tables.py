"""The workspace's tables, as data. What a row means is said in `records.py`; how tables change, in `migrations/`.

Every table of content has one integer `id`, so that the history can name any row. Ids are given out by `ids` and never used
twice, even after an undo. Times are ISO 8601 text in UTC with microseconds, which sorts as time does. JSON is text.

A completion's narrow facts (`completions`) stand apart from its text, ids and settings (`completion_bodies`): filters and lists
walk over a hundred bytes a row and not over pages of prose.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import postgresql

__all__ = ["CONTENT", "RECORDED", "metadata"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both; SQLite's `id` is then its rowid."""

Plain = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that both databases order by code point."""

FINISH_REASONS = ("eos", "stop", "length", "time", "cancelled", "error", "user", "written", "imported")
IN_BULK = text("bulk IS NOT NULL")
LABELS = ("style", "length", "reasoning", "refusal", "formatting")


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=False)


def _to(name: str, table: str, *, gone: str = "CASCADE", nullable: bool = False, index: bool = True) -> Column[int]:
    """A reference; `gone` says what happens to this row when the other is deleted. Checked when the transaction ends."""
    target = ForeignKey(f"{table}.id", ondelete=gone, deferrable=True, initially="DEFERRED")
    return Column(name, Id, target, nullable=nullable, index=index)


def _part_of_a_job() -> Column[int]:
    target = ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    return Column("job_id", Id, target, primary_key=True, autoincrement=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false(), default=False)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Plain, nullable=nullable, server_default=None if nullable else text("''"))


# ---------------------------------------------------------------- the workspace itself

meta = Table("meta", metadata, Column("name", Text, primary_key=True), _text("value"))
ids = Table("ids", metadata, Column("name", Text, primary_key=True), Column("next", Id, nullable=False))
settings = Table("settings", metadata, _id(), Column("name", Text, nullable=False, unique=True), _text("value"))

# ---------------------------------------------------------------- dictionaries: written once, referred to by many

models = Table("models", metadata, _id(), _text("name"), _text("fingerprint"), UniqueConstraint("name", "fingerprint"))
vocabulary = Table(
    "vocabulary",
    metadata,
    Column("model_id", Id, ForeignKey("models.id", deferrable=True, initially="DEFERRED"), primary_key=True),
    Column("token_id", Integer, primary_key=True, autoincrement=False),
    Column("bytes", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# ---------------------------------------------------------------- samples

samples = Table(
    "samples",
    metadata,
    _id(),
    _text("title"),
    _text("group_path"),
    _text("notes"),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    _flag("archived"),
    _flag("hidden"),
    _text("created_at"),
    _text("changed_at"),
    Index("ix_samples_group_path", "group_path", "id"),
    Index("ix_samples_title", "title", "id"),
    Index("ix_samples_created_at", "created_at"),
    Index("ix_samples_archived", "archived"),
)
prompts = Table(
    "prompts",
    metadata,
    _id(),
    _to("sample_id", "samples", index=False),
    Column("number", Integer, nullable=False),
    _to("parent_id", "prompts", gone="SET NULL", nullable=True),
    _text("messages", nullable=True),
    _text("text"),
    Column("hash", Text, nullable=False, index=True),
    _text("created_at"),
    UniqueConstraint("sample_id", "number"),
)
sample_images = Table(
    "sample_images", metadata, _id(), _to("sample_id", "samples"), _text("path"), _text("media_type"), _text("sha256")
)
tags = Table(
    "tags",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("description"),
    _text("scope"),
    _text("created_at"),
    CheckConstraint("scope IN ('samples', 'completions', 'both')", name="scope"),
)
sample_tags = Table(
    "sample_tags",
    metadata,
    _id(),
    _to("sample_id", "samples", index=False),
    _to("tag_id", "tags", index=False),
    UniqueConstraint("sample_id", "tag_id"),
    Index("ix_sample_tags_tag_id", "tag_id", "sample_id"),
)

# ---------------------------------------------------------------- completions

completions = Table(
    "completions",
    metadata,
    _id(),
    _to("sample_id", "samples"),
    _to("prompt_id", "prompts"),
    _to("model_id", "models", gone="NO ACTION"),
    _to("parent_id", "completions", gone="SET NULL", nullable=True),
    Column("branch_position", Integer),
    Column("finish_reason", Text, index=True),
    _flag("truncated"),
    _flag("archived"),
    _flag("hidden"),
    _flag("draft"),
    Column("token_count", Integer, index=True),
    Column("text_length", Integer, nullable=False),
    Column("mean_logprob", Float, index=True),
    Column("min_logprob", Float, index=True),
    *(Column(label, Text) for label in LABELS),
    Column("created_at", Plain, nullable=False, index=True),
    Column("bulk", Text),
    CheckConstraint(f"finish_reason IN {FINISH_REASONS}", name="finish_reason"),
    *(Index(f"ix_completions_{flag}", flag) for flag in ("truncated", "archived", "hidden", "draft")),
    *(Index(f"ix_completions_label_{label}", label, sqlite_where=text(f"{label} IS NOT NULL")) for label in LABELS),
    Index("ix_completions_bulk", "bulk", "prompt_id", sqlite_where=IN_BULK, postgresql_where=IN_BULK),
)
completion_bodies = Table(
    "completion_bodies",
    metadata,
    Column(
        "id",
        Id,
        ForeignKey("completions.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        primary_key=True,
        autoincrement=False,
    ),
    _text("text"),
    Column("generated_start", Integer, nullable=False, server_default=text("0")),
    Column("token_ids", LargeBinary),
    Column("spans", Text, nullable=False, server_default=text("'[]'")),
    Column("config", Text, nullable=False, server_default=text("'{}'")),
    Column("processors", Text, nullable=False, server_default=text("'[]'")),
    Column("seed", BigInteger),
    Column("stop_string", Text),
    Column("beam_score", Float),
    Column("details", Text, nullable=False, server_default=text("'{}'")),
    Column("text_hash", LargeBinary, nullable=False),
)
completion_tags = Table(
    "completion_tags",
    metadata,
    _id(),
    _to("completion_id", "completions", index=False),
    _to("tag_id", "tags", index=False),
    UniqueConstraint("completion_id", "tag_id"),
    Index("ix_completion_tags_tag_id", "tag_id", "completion_id"),
)
tokenizations = Table(
    "tokenizations",
    metadata,
    _id(),
    _to("completion_id", "completions", index=False),
    _to("model_id", "models", gone="NO ACTION", index=False),
    Column("token_ids", LargeBinary, nullable=False),
    UniqueConstraint("completion_id", "model_id"),
)
logprobs = Table(
    "logprobs",
    metadata,
    _id(),
    _to("completion_id", "completions", index=False),
    _to("model_id", "models", gone="NO ACTION", index=False),
    Column("start", Integer, nullable=False, server_default=text("0")),
    Column("token_count", Integer, nullable=False),
    Column("min_logprob", Float),
    Column("mean_logprob", Float),
    Column("sum_logprob", Float),
    Column("p10_logprob", Float),
    Column("p50_logprob", Float),
    Column("mean_entropy", Float),
    _text("created_at"),
    Column("token_ids", LargeBinary),
    Column("measures", LargeBinary, nullable=False),
    Column("alternatives", LargeBinary),
    UniqueConstraint("completion_id", "model_id"),
    Index("ix_logprobs_mean", "model_id", "mean_logprob", "completion_id"),
    Index("ix_logprobs_min", "model_id", "min_logprob", "completion_id"),
    Index("ix_logprobs_p10", "model_id", "p10_logprob", "completion_id"),
)

# ---------------------------------------------------------------- facets and judgements

facets = Table(
    "facets",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("description"),
    _to("parent_id", "facets", gone="SET NULL", nullable=True),
    Column("good_rating", Integer),
    Column("bad_rating", Integer),
    Column("min_logprob", Float),
    Column("mean_logprob", Float),
    Column("target_model", Text),
    _text("created_at"),
)
ratings = Table(
    "ratings",
    metadata,
    _id(),
    _to("completion_id", "completions", index=False),
    _to("facet_id", "facets", index=False),
    Column("rating", Integer, nullable=False),
    _text("origin"),
    _text("created_at"),
    UniqueConstraint("completion_id", "facet_id"),
    Index("ix_ratings_facet_id", "facet_id", "rating", "completion_id"),
    CheckConstraint("rating BETWEEN 0 AND 10", name="rating"),
)
preferences = Table(
    "preferences",
    metadata,
    _id(),
    _to("facet_id", "facets", index=False),
    _to("sample_id", "samples"),
    _to("better_id", "completions"),
    _to("worse_id", "completions"),
    _flag("tie"),
    _text("origin"),
    _text("created_at"),
    Index("ix_preferences_facet_id", "facet_id", "sample_id"),
    CheckConstraint("better_id <> worse_id", name="pair"),
)
approvals = Table(
    "approvals",
    metadata,
    _id(),
    _to("sample_id", "samples", index=False),
    _to("facet_id", "facets"),
    _to("completion_id", "completions"),
    _text("created_at"),
    UniqueConstraint("sample_id", "facet_id"),
)
unanswered = Table(
    "unanswered",
    metadata,
    _id(),
    _to("facet_id", "facets", index=False),
    _text("messages", nullable=True),
    _text("text"),
    Column("hash", Text, nullable=False),
    Column("asked", Integer, nullable=False, server_default=text("1")),
    _text("state"),
    _to("sample_id", "samples", gone="SET NULL", nullable=True),
    _text("created_at"),
    _text("asked_at"),
    UniqueConstraint("facet_id", "hash"),
    Index("ix_unanswered_state", "facet_id", "state", "id"),
    CheckConstraint("state IN ('waiting', 'answered', 'dismissed')", name="state"),
)
filters = Table(
    "filters",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("description"),
    Column("rules", Text, nullable=False),
    _text("created_at"),
)

# ---------------------------------------------------------------- beam trees

beam_trees = Table(
    "beam_trees",
    metadata,
    _id(),
    _to("sample_id", "samples"),
    _to("prompt_id", "prompts", index=False),
    _to("model_id", "models", gone="NO ACTION"),
    _text("title"),
    Column("prefill", LargeBinary, nullable=False),
    Column("config", Text, nullable=False, server_default=text("'{}'")),
    _text("created_at"),
    UniqueConstraint("prompt_id", "model_id", "title"),
)
beam_nodes = Table(
    "beam_nodes",
    metadata,
    _id(),
    _to("tree_id", "beam_trees", index=False),
    _to("parent_id", "beam_nodes", nullable=True, index=False),
    Column("token_id", Integer, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("logprob", Float),
    Column("entropy", Float),
    Column("rank", Integer),
    Column("sum_logprob", Float),
    Column("min_logprob", Float),
    _text("origin"),
    _flag("ended"),
    _flag("pinned"),
    _flag("kept"),
    _flag("pruned"),
    _flag("bookmarked"),
    Column("dead_reason", Text),
    _to("completion_id", "completions", gone="SET NULL", nullable=True),
    Column("candidates", LargeBinary),
    _text("created_at"),
    Column("next_entropy", Float),
    # Two children of one node never carry one token: identical continuations are one path.
    UniqueConstraint("parent_id", "token_id"),
    Index("ix_beam_nodes_tree_id", "tree_id", "depth"),
)

# ---------------------------------------------------------------- the decoding lab

lab_runs = Table(
    "lab_runs",
    metadata,
    _id(),
    _text("name"),
    _text("plan"),
    _text("models"),
    _text("state"),
    _text("problem", nullable=True),
    Column("asked", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("report", LargeBinary),
    _text("created_at"),
    _text("ended_at", nullable=True),
    CheckConstraint("state IN ('running', 'completed', 'cancelled', 'failed')", name="state"),
)

# ---------------------------------------------------------------- batch jobs

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    _text("state"),
    Column("spec", Text, nullable=False),
    Column("labels", Text, nullable=False, server_default=text("'{}'")),
    Column("total", Integer),
    Column("taken", Integer, nullable=False, server_default=text("0")),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("done", "failed")),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in ("prompt_tokens", "completion_tokens")),
    Column("run_s", Float, nullable=False, server_default=text("0")),
    Column("beat_at", Float),
    _flag("cancelling"),
    Column("source", Text),
    Column("workers", Text),
    Column("error", Text),
    _text("created_at"),
    Column("started_at", Plain),
    Column("ended_at", Plain),
    Index("ix_jobs_state", "state", "id"),
    CheckConstraint("state IN ('queued', 'running', 'completed', 'failed', 'cancelled')", name="state"),
)
job_rows = Table(
    "job_rows",
    metadata,
    _part_of_a_job(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("state"),
    Column("runner_id", Id),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Index("ix_job_rows_state", "job_id", "state", "number"),
    CheckConstraint("state IN ('waiting', 'leased', 'done', 'failed')", name="state"),
    sqlite_with_rowid=False,
)
job_requests = Table(
    "job_requests",
    metadata,
    _part_of_a_job(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("request", Text, nullable=False),
)
job_results = Table(
    "job_results",
    metadata,
    _part_of_a_job(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("error", Text),
    Column("result", Text, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    _text("created_at"),
)
job_runners = Table(
    "job_runners",
    metadata,
    _id(),
    _to("job_id", "jobs"),
    _text("host"),
    Column("pid", Integer, nullable=False),
    Column("born", Float, nullable=False),
    Column("beat_at", Float, nullable=False),
)
files = Table(
    "files",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    _text("name"),
    _text("purpose"),
    Column("size_bytes", BigInteger, nullable=False),
    _text("created_at"),
)

# ---------------------------------------------------------------- history

actions = Table(
    "actions",
    metadata,
    _id(),
    _text("name"),
    _text("detail"),
    _text("author"),
    _text("state"),
    _text("created_at"),
    Index("ix_actions_state", "state", "id"),
    CheckConstraint("state IN ('done', 'undone', 'abandoned')", name="state"),
)
changes = Table(
    "changes",
    metadata,
    _id(),
    _to("action_id", "actions"),
    _text("table_name"),
    _text("kind"),
    Column("first_id", Id, nullable=False),
    Column("last_id", Id, nullable=False),
    Column("row_ids", Text),
    Column("before", Text),
    Column("after", Text),
    Index("ix_changes_row", "table_name", "first_id"),
    CheckConstraint("kind IN ('insert', 'update', 'delete')", name="kind"),
)

RECORDED = (
    *(settings, samples, prompts, sample_images, tags, sample_tags),
    *(completions, completion_bodies, completion_tags, tokenizations, logprobs),
    *(facets, ratings, preferences, approvals, unanswered, filters, beam_trees, beam_nodes),
)
"""Tables whose rows the history follows: together they are the state that undo restores."""

CONTENT = (models, vocabulary, *RECORDED)
