"""Nodes of a beam tree keep the entropy of what may come next; the end of a text has no bytes in the vocabulary."""

from alembic import op

revision = "0002"
down_revision = "0001"

VIEW = """CREATE VIEW v_beam_nodes AS
SELECT n.id, n.tree_id, t.sample_id, m.name AS model, n.parent_id, n.depth, n.token_id, w.bytes AS token_bytes, n.logprob,
  n.entropy, n.sum_logprob, n.min_logprob, n.ended, n.pinned, n.kept, n.pruned, n.bookmarked, n.dead_reason, n.completion_id,
  n.rank, n.origin, n.next_entropy
FROM beam_nodes n JOIN beam_trees t ON t.id = n.tree_id JOIN models m ON m.id = t.model_id
LEFT JOIN vocabulary w ON w.model_id = t.model_id AND w.token_id = n.token_id"""

NOTHING = {"sqlite": "x''", "postgresql": "''::bytea"}


def upgrade() -> None:
    connection = op.get_bind()
    dialect = connection.dialect.name
    connection.exec_driver_sql("ALTER TABLE beam_nodes ADD COLUMN next_entropy FLOAT")
    connection.exec_driver_sql("DROP VIEW v_beam_nodes")
    connection.exec_driver_sql(VIEW)
    # Trees used to spell an EOS out where completions write nothing.
    connection.exec_driver_sql(
        f"UPDATE vocabulary SET bytes = {NOTHING[dialect]} WHERE EXISTS (SELECT 1 FROM beam_nodes n JOIN beam_trees t "
        "ON t.id = n.tree_id WHERE n.ended AND n.token_id = vocabulary.token_id AND t.model_id = vocabulary.model_id)"
    )
