"""What the tables alone cannot say: full-text indexes, and views for someone with only `sqlite3`.

On SQLite three FTS5 tables hold the words (not the texts, which stay in their own tables) and triggers keep them in step, also
when an undo moves rows. On PostgreSQL generated tsvector columns do the same. Words are runs of letters and digits, lower-cased;
nothing is stemmed and accents count.

The views' names begin with v_. Tokens are read straight out of the packed bytes, whose layout `packing.py` describes.
"""

from collections.abc import Iterator

from ramify.store.packing import UNTOLD

__all__ = ["VIEWS", "extra_ddl"]

FULL_TEXT = (
    # index, table, columns
    ("search_samples", "samples", ("title", "notes")),
    ("search_prompts", "prompts", ("text",)),
    ("search_completions", "completion_bodies", ("text",)),
)

VIEWS: tuple[str, ...] = (
    "v_models",
    "v_samples",
    "v_prompts",
    "v_completions",
    "v_logprobs",
    "v_tokens",
    "v_facets",
    "v_ratings",
)
VIEWS += ("v_preferences", "v_approvals", "v_tags", "v_beam_nodes", "v_history")


def extra_ddl(dialect: str) -> Iterator[str]:
    """The statements after the tables', in order. dialect: "sqlite" or "postgresql"."""
    yield from _sqlite_search() if dialect == "sqlite" else _postgresql_search()
    yield from _views(dialect)


def _sqlite_search() -> Iterator[str]:
    for index, table, columns in FULL_TEXT:
        names = ", ".join(columns)
        old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("old", "new"))
        yield (
            f"CREATE VIRTUAL TABLE {index} USING fts5({names}, content='{table}', content_rowid='id', "
            "tokenize='unicode61 remove_diacritics 0')"
        )
        take = f"INSERT INTO {index}({index}, rowid, {names}) VALUES ('delete', old.id, {old});"
        put = f"INSERT INTO {index}(rowid, {names}) VALUES (new.id, {new});"
        yield f"CREATE TRIGGER {index}_insert AFTER INSERT ON {table} BEGIN {put} END"
        yield f"CREATE TRIGGER {index}_delete AFTER DELETE ON {table} BEGIN {take} END"
        yield f"CREATE TRIGGER {index}_update AFTER UPDATE OF {names} ON {table} BEGIN {take} {put} END"


def _postgresql_search() -> Iterator[str]:
    for index, table, columns in FULL_TEXT:
        # A tsvector holds 1 MB at most: of longer texts the first quarter million characters are searched.
        whole = " || ' ' || ".join(columns)
        words = f"to_tsvector('simple', regexp_replace(left({whole}, 250000) COLLATE \"default\", '[^[:alnum:]]+', ' ', 'g'))"
        yield f"ALTER TABLE {table} ADD COLUMN words tsvector GENERATED ALWAYS AS ({words}) STORED"
        yield f"CREATE INDEX {index} ON {table} USING gin (words)"


def _uint(dialect: str, blob: str, offset: str, width: int) -> str:
    """The big-endian number in `width` bytes of a blob, `offset` counted from 0."""
    if dialect == "postgresql":
        return (
            "(" + " + ".join(f"get_byte({blob}, {offset} + {i})::bigint * {256 ** (width - 1 - i)}" for i in range(width)) + ")"
        )
    digits = f"hex(substr({blob}, {offset} + 1, {width}))"
    places = (f"(instr('123456789ABCDEF', substr({digits}, {i + 1}, 1)) * {16 ** (2 * width - 1 - i)})" for i in range(2 * width))
    return "(" + " + ".join(places) + ")"


def _tokens(dialect: str) -> str:
    ids = f"COALESCE(l.token_ids, {'substr' if dialect == 'sqlite' else 'substring'}(b.token_ids"
    ids += ", l.start * 3 + 1))" if dialect == "sqlite" else " from l.start * 3 + 1))"
    raw = _uint(dialect, "measures", "i * 10", 4)
    logprob = f"CASE {raw} WHEN 4294967295 THEN NULL ELSE -{raw} / 1000000.0 END"
    # What a remote did not tell: the rank is 0, the entropy the largest number.
    rank = f"NULLIF({_uint(dialect, 'measures', 'i * 10 + 4', 3)}, 0)"
    entropy = f"NULLIF({_uint(dialect, 'measures', 'i * 10 + 7', 3)}, {UNTOLD}) / 1000000.0"
    return f"""
WITH RECURSIVE t AS (
  SELECT l.id AS logprobs_id, l.completion_id, l.model_id, l.start, l.token_count, l.measures, {ids} AS ids, 0 AS i
  FROM logprobs l JOIN completion_bodies b ON b.id = l.completion_id WHERE l.token_count > 0
  UNION ALL
  SELECT logprobs_id, completion_id, model_id, start, token_count, measures, ids, i + 1 FROM t WHERE i + 1 < token_count
), d AS (
  SELECT completion_id, model_id, start + i AS position, {_uint(dialect, "ids", "i * 3", 3)} AS token_id,
    {logprob} AS logprob, {rank} AS rank, {entropy} AS entropy
  FROM t
)
SELECT d.completion_id, m.name AS model, m.fingerprint, d.position, d.token_id, w.bytes AS token_bytes,
  d.logprob, d.rank, d.entropy
FROM d JOIN models m ON m.id = d.model_id LEFT JOIN vocabulary w ON w.model_id = d.model_id AND w.token_id = d.token_id"""


def _views(dialect: str) -> Iterator[str]:
    joined = "group_concat(t.name, ', ')" if dialect == "sqlite" else "string_agg(t.name, ', ')"

    def tags_of(kind: str, row: str) -> str:
        return (
            f"(SELECT {joined} FROM (SELECT g.name FROM {kind}_tags x JOIN tags g ON g.id = x.tag_id "
            f"WHERE x.{kind}_id = {row}.id ORDER BY g.name) t)"
        )

    yield "CREATE VIEW v_models AS SELECT id, name, fingerprint FROM models"
    yield f"""CREATE VIEW v_samples AS
SELECT s.id, s.title, s.group_path, s.notes, s.revision, p.id AS prompt_id, p.messages, p.text AS prompt, s.archived, s.hidden,
  s.created_at, s.changed_at, {tags_of("sample", "s")} AS tags,
  (SELECT count(*) FROM completions c WHERE c.sample_id = s.id) AS completions
FROM samples s JOIN prompts p ON p.sample_id = s.id AND p.number = s.revision"""
    yield "CREATE VIEW v_prompts AS SELECT id, sample_id, number, parent_id, messages, text, hash, created_at FROM prompts"
    yield f"""CREATE VIEW v_completions AS
SELECT c.id, c.sample_id, c.prompt_id, m.name AS model, m.fingerprint, b.text,
  substr(b.text, b.generated_start + 1) AS generated_text, c.token_count, c.finish_reason, b.stop_string, c.truncated,
  c.archived, c.hidden, c.draft, c.parent_id, c.branch_position, c.mean_logprob, c.min_logprob, c.style, c.length, c.reasoning,
  c.refusal, c.formatting, {tags_of("completion", "c")} AS tags, b.spans, b.config, b.processors, b.seed, c.created_at, c.bulk
FROM completions c JOIN completion_bodies b ON b.id = c.id JOIN models m ON m.id = c.model_id"""
    yield """CREATE VIEW v_logprobs AS
SELECT l.completion_id, m.name AS model, m.fingerprint, l.start, l.token_count, l.sum_logprob, l.mean_logprob, l.min_logprob,
  l.p10_logprob, l.p50_logprob, l.mean_entropy, l.created_at
FROM logprobs l JOIN models m ON m.id = l.model_id"""
    yield f"CREATE VIEW v_tokens AS {_tokens(dialect)}"
    yield """CREATE VIEW v_facets AS
SELECT f.id, f.name, f.description, p.name AS parent, f.good_rating, f.bad_rating, f.min_logprob, f.mean_logprob, f.target_model,
  f.created_at
FROM facets f LEFT JOIN facets p ON p.id = f.parent_id"""
    yield """CREATE VIEW v_ratings AS
SELECT r.completion_id, f.name AS facet, r.rating, r.origin, r.created_at FROM ratings r JOIN facets f ON f.id = r.facet_id"""
    yield """CREATE VIEW v_preferences AS
SELECT p.id, f.name AS facet, p.sample_id, p.better_id, p.worse_id, p.tie, p.origin, p.created_at
FROM preferences p JOIN facets f ON f.id = p.facet_id"""
    yield """CREATE VIEW v_approvals AS
SELECT a.sample_id, f.name AS facet, a.completion_id, a.created_at FROM approvals a JOIN facets f ON f.id = a.facet_id"""
    yield "CREATE VIEW v_tags AS SELECT id, name, description, scope, created_at FROM tags"
    yield """CREATE VIEW v_beam_nodes AS
SELECT n.id, n.tree_id, t.sample_id, m.name AS model, n.parent_id, n.depth, n.token_id, w.bytes AS token_bytes, n.logprob,
  n.entropy, n.sum_logprob, n.min_logprob, n.ended, n.pinned, n.kept, n.pruned, n.bookmarked, n.dead_reason, n.completion_id,
  n.rank, n.origin, n.next_entropy
FROM beam_nodes n JOIN beam_trees t ON t.id = n.tree_id JOIN models m ON m.id = t.model_id
LEFT JOIN vocabulary w ON w.model_id = t.model_id AND w.token_id = n.token_id"""
    yield """CREATE VIEW v_history AS
SELECT a.id AS action_id, a.name AS action, a.detail, a.author, a.state, a.created_at, c.table_name, c.kind, c.first_id,
  c.last_id, c.before, c.after
FROM actions a LEFT JOIN changes c ON c.action_id = a.id"""
