ALTER TABLE completions ADD COLUMN bulk TEXT
--
CREATE TABLE tokenizations (
	id BIGINT NOT NULL,
	completion_id BIGINT NOT NULL,
	model_id BIGINT NOT NULL,
	token_ids BYTEA NOT NULL,
	CONSTRAINT pk_tokenizations PRIMARY KEY (id),
	CONSTRAINT uq_tokenizations_completion_id_model_id UNIQUE (completion_id, model_id),
	CONSTRAINT fk_tokenizations_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_tokenizations_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_completions_bulk ON completions (bulk, prompt_id) WHERE bulk IS NOT NULL
--
DROP VIEW v_completions
--
CREATE VIEW v_completions AS
SELECT c.id, c.sample_id, c.prompt_id, m.name AS model, m.fingerprint, b.text,
  substr(b.text, b.generated_start + 1) AS generated_text, c.token_count, c.finish_reason, b.stop_string, c.truncated,
  c.archived, c.hidden, c.draft, c.parent_id, c.branch_position, c.mean_logprob, c.min_logprob, c.style, c.length, c.reasoning,
  c.refusal, c.formatting, (SELECT string_agg(t.name, ', ') FROM (SELECT g.name FROM completion_tags x JOIN tags g ON g.id = x.tag_id WHERE x.completion_id = c.id ORDER BY g.name) t) AS tags, b.spans, b.config, b.processors, b.seed, c.created_at, c.bulk
FROM completions c JOIN completion_bodies b ON b.id = c.id JOIN models m ON m.id = c.model_id
--
DROP VIEW v_tokens
--
CREATE VIEW v_tokens AS
WITH RECURSIVE t AS (
  SELECT l.id AS logprobs_id, l.completion_id, l.model_id, l.start, l.token_count, l.measures, COALESCE(l.token_ids, substring(b.token_ids from l.start * 3 + 1)) AS ids, 0 AS i
  FROM logprobs l JOIN completion_bodies b ON b.id = l.completion_id WHERE l.token_count > 0
  UNION ALL
  SELECT logprobs_id, completion_id, model_id, start, token_count, measures, ids, i + 1 FROM t WHERE i + 1 < token_count
), d AS (
  SELECT completion_id, model_id, start + i AS position, (get_byte(ids, i * 3 + 0)::bigint * 65536 + get_byte(ids, i * 3 + 1)::bigint * 256 + get_byte(ids, i * 3 + 2)::bigint * 1) AS token_id,
    CASE (get_byte(measures, i * 10 + 0)::bigint * 16777216 + get_byte(measures, i * 10 + 1)::bigint * 65536 + get_byte(measures, i * 10 + 2)::bigint * 256 + get_byte(measures, i * 10 + 3)::bigint * 1) WHEN 4294967295 THEN NULL ELSE -(get_byte(measures, i * 10 + 0)::bigint * 16777216 + get_byte(measures, i * 10 + 1)::bigint * 65536 + get_byte(measures, i * 10 + 2)::bigint * 256 + get_byte(measures, i * 10 + 3)::bigint * 1) / 1000000.0 END AS logprob, NULLIF((get_byte(measures, i * 10 + 4 + 0)::bigint * 65536 + get_byte(measures, i * 10 + 4 + 1)::bigint * 256 + get_byte(measures, i * 10 + 4 + 2)::bigint * 1), 0) AS rank, NULLIF((get_byte(measures, i * 10 + 7 + 0)::bigint * 65536 + get_byte(measures, i * 10 + 7 + 1)::bigint * 256 + get_byte(measures, i * 10 + 7 + 2)::bigint * 1), 16777215) / 1000000.0 AS entropy
  FROM t
)
SELECT d.completion_id, m.name AS model, m.fingerprint, d.position, d.token_id, w.bytes AS token_bytes,
  d.logprob, d.rank, d.entropy
FROM d JOIN models m ON m.id = d.model_id LEFT JOIN vocabulary w ON w.model_id = d.model_id AND w.token_id = d.token_id
