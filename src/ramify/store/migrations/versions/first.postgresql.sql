CREATE TABLE actions (
	id BIGINT NOT NULL,
	name TEXT COLLATE "C" DEFAULT '' NOT NULL,
	detail TEXT COLLATE "C" DEFAULT '' NOT NULL,
	author TEXT COLLATE "C" DEFAULT '' NOT NULL,
	state TEXT COLLATE "C" DEFAULT '' NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_actions PRIMARY KEY (id),
	CONSTRAINT ck_actions_state CHECK (state IN ('done', 'undone', 'abandoned'))
)
--
CREATE INDEX ix_actions_state ON actions (state, id)
--
CREATE TABLE facets (
	id BIGINT NOT NULL,
	name TEXT NOT NULL,
	description TEXT COLLATE "C" DEFAULT '' NOT NULL,
	parent_id BIGINT,
	good_rating INTEGER,
	bad_rating INTEGER,
	min_logprob FLOAT,
	mean_logprob FLOAT,
	target_model TEXT,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_facets PRIMARY KEY (id),
	CONSTRAINT uq_facets_name UNIQUE (name),
	CONSTRAINT fk_facets_parent_id FOREIGN KEY(parent_id) REFERENCES facets (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_facets_parent_id ON facets (parent_id)
--
CREATE TABLE filters (
	id BIGINT NOT NULL,
	name TEXT NOT NULL,
	description TEXT COLLATE "C" DEFAULT '' NOT NULL,
	rules TEXT NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_filters PRIMARY KEY (id),
	CONSTRAINT uq_filters_name UNIQUE (name)
)
--
CREATE TABLE ids (
	name TEXT NOT NULL,
	next BIGINT NOT NULL,
	CONSTRAINT pk_ids PRIMARY KEY (name)
)
--
CREATE TABLE meta (
	name TEXT NOT NULL,
	value TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_meta PRIMARY KEY (name)
)
--
CREATE TABLE models (
	id BIGINT NOT NULL,
	name TEXT COLLATE "C" DEFAULT '' NOT NULL,
	fingerprint TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_models PRIMARY KEY (id),
	CONSTRAINT uq_models_name_fingerprint UNIQUE (name, fingerprint)
)
--
CREATE TABLE samples (
	id BIGINT NOT NULL,
	title TEXT COLLATE "C" DEFAULT '' NOT NULL,
	group_path TEXT COLLATE "C" DEFAULT '' NOT NULL,
	notes TEXT COLLATE "C" DEFAULT '' NOT NULL,
	revision INTEGER DEFAULT 1 NOT NULL,
	archived BOOLEAN DEFAULT false NOT NULL,
	hidden BOOLEAN DEFAULT false NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	changed_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_samples PRIMARY KEY (id)
)
--
CREATE INDEX ix_samples_archived ON samples (archived)
--
CREATE INDEX ix_samples_created_at ON samples (created_at)
--
CREATE INDEX ix_samples_group_path ON samples (group_path, id)
--
CREATE INDEX ix_samples_title ON samples (title, id)
--
CREATE TABLE settings (
	id BIGINT NOT NULL,
	name TEXT NOT NULL,
	value TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_settings PRIMARY KEY (id),
	CONSTRAINT uq_settings_name UNIQUE (name)
)
--
CREATE TABLE tags (
	id BIGINT NOT NULL,
	name TEXT NOT NULL,
	description TEXT COLLATE "C" DEFAULT '' NOT NULL,
	scope TEXT COLLATE "C" DEFAULT '' NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_tags PRIMARY KEY (id),
	CONSTRAINT ck_tags_scope CHECK (scope IN ('samples', 'completions', 'both')),
	CONSTRAINT uq_tags_name UNIQUE (name)
)
--
CREATE TABLE changes (
	id BIGINT NOT NULL,
	action_id BIGINT NOT NULL,
	table_name TEXT COLLATE "C" DEFAULT '' NOT NULL,
	kind TEXT COLLATE "C" DEFAULT '' NOT NULL,
	first_id BIGINT NOT NULL,
	last_id BIGINT NOT NULL,
	row_ids TEXT,
	before TEXT,
	after TEXT,
	CONSTRAINT pk_changes PRIMARY KEY (id),
	CONSTRAINT ck_changes_kind CHECK (kind IN ('insert', 'update', 'delete')),
	CONSTRAINT fk_changes_action_id FOREIGN KEY(action_id) REFERENCES actions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_changes_action_id ON changes (action_id)
--
CREATE INDEX ix_changes_row ON changes (table_name, first_id)
--
CREATE TABLE prompts (
	id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	number INTEGER NOT NULL,
	parent_id BIGINT,
	messages TEXT COLLATE "C",
	text TEXT COLLATE "C" DEFAULT '' NOT NULL,
	hash TEXT NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_prompts PRIMARY KEY (id),
	CONSTRAINT uq_prompts_sample_id_number UNIQUE (sample_id, number),
	CONSTRAINT fk_prompts_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_prompts_parent_id FOREIGN KEY(parent_id) REFERENCES prompts (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_prompts_hash ON prompts (hash)
--
CREATE INDEX ix_prompts_parent_id ON prompts (parent_id)
--
CREATE TABLE sample_images (
	id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	path TEXT COLLATE "C" DEFAULT '' NOT NULL,
	media_type TEXT COLLATE "C" DEFAULT '' NOT NULL,
	sha256 TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_sample_images PRIMARY KEY (id),
	CONSTRAINT fk_sample_images_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_sample_images_sample_id ON sample_images (sample_id)
--
CREATE TABLE sample_tags (
	id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	tag_id BIGINT NOT NULL,
	CONSTRAINT pk_sample_tags PRIMARY KEY (id),
	CONSTRAINT uq_sample_tags_sample_id_tag_id UNIQUE (sample_id, tag_id),
	CONSTRAINT fk_sample_tags_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_sample_tags_tag_id FOREIGN KEY(tag_id) REFERENCES tags (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_sample_tags_tag_id ON sample_tags (tag_id, sample_id)
--
CREATE TABLE unanswered (
	id BIGINT NOT NULL,
	facet_id BIGINT NOT NULL,
	messages TEXT COLLATE "C",
	text TEXT COLLATE "C" DEFAULT '' NOT NULL,
	hash TEXT NOT NULL,
	asked INTEGER DEFAULT 1 NOT NULL,
	state TEXT COLLATE "C" DEFAULT '' NOT NULL,
	sample_id BIGINT,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	asked_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_unanswered PRIMARY KEY (id),
	CONSTRAINT uq_unanswered_facet_id_hash UNIQUE (facet_id, hash),
	CONSTRAINT ck_unanswered_state CHECK (state IN ('waiting', 'answered', 'dismissed')),
	CONSTRAINT fk_unanswered_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_unanswered_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_unanswered_sample_id ON unanswered (sample_id)
--
CREATE INDEX ix_unanswered_state ON unanswered (facet_id, state, id)
--
CREATE TABLE vocabulary (
	model_id BIGINT NOT NULL,
	token_id INTEGER NOT NULL,
	bytes BYTEA NOT NULL,
	CONSTRAINT pk_vocabulary PRIMARY KEY (model_id, token_id),
	CONSTRAINT fk_vocabulary_model_id FOREIGN KEY(model_id) REFERENCES models (id) DEFERRABLE INITIALLY DEFERRED
)
--
CREATE TABLE beam_trees (
	id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	prompt_id BIGINT NOT NULL,
	model_id BIGINT NOT NULL,
	title TEXT COLLATE "C" DEFAULT '' NOT NULL,
	prefill BYTEA NOT NULL,
	config TEXT DEFAULT '{}' NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_beam_trees PRIMARY KEY (id),
	CONSTRAINT uq_beam_trees_prompt_id_model_id_title UNIQUE (prompt_id, model_id, title),
	CONSTRAINT fk_beam_trees_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_trees_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_trees_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_beam_trees_model_id ON beam_trees (model_id)
--
CREATE INDEX ix_beam_trees_sample_id ON beam_trees (sample_id)
--
CREATE TABLE completions (
	id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	prompt_id BIGINT NOT NULL,
	model_id BIGINT NOT NULL,
	parent_id BIGINT,
	branch_position INTEGER,
	finish_reason TEXT,
	truncated BOOLEAN DEFAULT false NOT NULL,
	archived BOOLEAN DEFAULT false NOT NULL,
	hidden BOOLEAN DEFAULT false NOT NULL,
	draft BOOLEAN DEFAULT false NOT NULL,
	token_count INTEGER,
	text_length INTEGER NOT NULL,
	mean_logprob FLOAT,
	min_logprob FLOAT,
	style TEXT,
	length TEXT,
	reasoning TEXT,
	refusal TEXT,
	formatting TEXT,
	created_at TEXT COLLATE "C" NOT NULL,
	CONSTRAINT pk_completions PRIMARY KEY (id),
	CONSTRAINT ck_completions_finish_reason CHECK (finish_reason IN ('eos', 'stop', 'length', 'time', 'cancelled', 'error', 'user', 'written', 'imported')),
	CONSTRAINT fk_completions_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completions_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completions_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completions_parent_id FOREIGN KEY(parent_id) REFERENCES completions (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_completions_archived ON completions (archived)
--
CREATE INDEX ix_completions_created_at ON completions (created_at)
--
CREATE INDEX ix_completions_draft ON completions (draft)
--
CREATE INDEX ix_completions_finish_reason ON completions (finish_reason)
--
CREATE INDEX ix_completions_hidden ON completions (hidden)
--
CREATE INDEX ix_completions_label_formatting ON completions (formatting)
--
CREATE INDEX ix_completions_label_length ON completions (length)
--
CREATE INDEX ix_completions_label_reasoning ON completions (reasoning)
--
CREATE INDEX ix_completions_label_refusal ON completions (refusal)
--
CREATE INDEX ix_completions_label_style ON completions (style)
--
CREATE INDEX ix_completions_mean_logprob ON completions (mean_logprob)
--
CREATE INDEX ix_completions_min_logprob ON completions (min_logprob)
--
CREATE INDEX ix_completions_model_id ON completions (model_id)
--
CREATE INDEX ix_completions_parent_id ON completions (parent_id)
--
CREATE INDEX ix_completions_prompt_id ON completions (prompt_id)
--
CREATE INDEX ix_completions_sample_id ON completions (sample_id)
--
CREATE INDEX ix_completions_token_count ON completions (token_count)
--
CREATE INDEX ix_completions_truncated ON completions (truncated)
--
CREATE TABLE approvals (
	id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	facet_id BIGINT NOT NULL,
	completion_id BIGINT NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_approvals PRIMARY KEY (id),
	CONSTRAINT uq_approvals_sample_id_facet_id UNIQUE (sample_id, facet_id),
	CONSTRAINT fk_approvals_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_approvals_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_approvals_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_approvals_completion_id ON approvals (completion_id)
--
CREATE INDEX ix_approvals_facet_id ON approvals (facet_id)
--
CREATE TABLE beam_nodes (
	id BIGINT NOT NULL,
	tree_id BIGINT NOT NULL,
	parent_id BIGINT,
	token_id INTEGER NOT NULL,
	depth INTEGER NOT NULL,
	logprob FLOAT,
	entropy FLOAT,
	rank INTEGER,
	sum_logprob FLOAT,
	min_logprob FLOAT,
	origin TEXT COLLATE "C" DEFAULT '' NOT NULL,
	ended BOOLEAN DEFAULT false NOT NULL,
	pinned BOOLEAN DEFAULT false NOT NULL,
	kept BOOLEAN DEFAULT false NOT NULL,
	pruned BOOLEAN DEFAULT false NOT NULL,
	bookmarked BOOLEAN DEFAULT false NOT NULL,
	dead_reason TEXT,
	completion_id BIGINT,
	candidates BYTEA,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_beam_nodes PRIMARY KEY (id),
	CONSTRAINT uq_beam_nodes_parent_id_token_id UNIQUE (parent_id, token_id),
	CONSTRAINT fk_beam_nodes_tree_id FOREIGN KEY(tree_id) REFERENCES beam_trees (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_nodes_parent_id FOREIGN KEY(parent_id) REFERENCES beam_nodes (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_nodes_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_beam_nodes_completion_id ON beam_nodes (completion_id)
--
CREATE INDEX ix_beam_nodes_tree_id ON beam_nodes (tree_id, depth)
--
CREATE TABLE completion_bodies (
	id BIGINT NOT NULL,
	text TEXT COLLATE "C" DEFAULT '' NOT NULL,
	generated_start INTEGER DEFAULT 0 NOT NULL,
	token_ids BYTEA,
	spans TEXT DEFAULT '[]' NOT NULL,
	config TEXT DEFAULT '{}' NOT NULL,
	processors TEXT DEFAULT '[]' NOT NULL,
	seed BIGINT,
	stop_string TEXT,
	beam_score FLOAT,
	details TEXT DEFAULT '{}' NOT NULL,
	text_hash BYTEA NOT NULL,
	CONSTRAINT pk_completion_bodies PRIMARY KEY (id),
	CONSTRAINT fk_completion_bodies_id FOREIGN KEY(id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE TABLE completion_tags (
	id BIGINT NOT NULL,
	completion_id BIGINT NOT NULL,
	tag_id BIGINT NOT NULL,
	CONSTRAINT pk_completion_tags PRIMARY KEY (id),
	CONSTRAINT uq_completion_tags_completion_id_tag_id UNIQUE (completion_id, tag_id),
	CONSTRAINT fk_completion_tags_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completion_tags_tag_id FOREIGN KEY(tag_id) REFERENCES tags (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_completion_tags_tag_id ON completion_tags (tag_id, completion_id)
--
CREATE TABLE logprobs (
	id BIGINT NOT NULL,
	completion_id BIGINT NOT NULL,
	model_id BIGINT NOT NULL,
	start INTEGER DEFAULT 0 NOT NULL,
	token_count INTEGER NOT NULL,
	min_logprob FLOAT,
	mean_logprob FLOAT,
	sum_logprob FLOAT,
	p10_logprob FLOAT,
	p50_logprob FLOAT,
	mean_entropy FLOAT,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	token_ids BYTEA,
	measures BYTEA NOT NULL,
	alternatives BYTEA,
	CONSTRAINT pk_logprobs PRIMARY KEY (id),
	CONSTRAINT uq_logprobs_completion_id_model_id UNIQUE (completion_id, model_id),
	CONSTRAINT fk_logprobs_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_logprobs_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_logprobs_mean ON logprobs (model_id, mean_logprob, completion_id)
--
CREATE INDEX ix_logprobs_min ON logprobs (model_id, min_logprob, completion_id)
--
CREATE INDEX ix_logprobs_p10 ON logprobs (model_id, p10_logprob, completion_id)
--
CREATE TABLE preferences (
	id BIGINT NOT NULL,
	facet_id BIGINT NOT NULL,
	sample_id BIGINT NOT NULL,
	better_id BIGINT NOT NULL,
	worse_id BIGINT NOT NULL,
	tie BOOLEAN DEFAULT false NOT NULL,
	origin TEXT COLLATE "C" DEFAULT '' NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_preferences PRIMARY KEY (id),
	CONSTRAINT ck_preferences_pair CHECK (better_id <> worse_id),
	CONSTRAINT fk_preferences_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_preferences_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_preferences_better_id FOREIGN KEY(better_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_preferences_worse_id FOREIGN KEY(worse_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_preferences_better_id ON preferences (better_id)
--
CREATE INDEX ix_preferences_facet_id ON preferences (facet_id, sample_id)
--
CREATE INDEX ix_preferences_sample_id ON preferences (sample_id)
--
CREATE INDEX ix_preferences_worse_id ON preferences (worse_id)
--
CREATE TABLE ratings (
	id BIGINT NOT NULL,
	completion_id BIGINT NOT NULL,
	facet_id BIGINT NOT NULL,
	rating INTEGER NOT NULL,
	origin TEXT COLLATE "C" DEFAULT '' NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_ratings PRIMARY KEY (id),
	CONSTRAINT uq_ratings_completion_id_facet_id UNIQUE (completion_id, facet_id),
	CONSTRAINT ck_ratings_rating CHECK (rating BETWEEN 0 AND 10),
	CONSTRAINT fk_ratings_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_ratings_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_ratings_facet_id ON ratings (facet_id, rating, completion_id)
--
ALTER TABLE samples ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', regexp_replace(left(title || ' ' || notes, 250000) COLLATE "default", '[^[:alnum:]]+', ' ', 'g'))) STORED
--
CREATE INDEX search_samples ON samples USING gin (words)
--
ALTER TABLE prompts ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', regexp_replace(left(text, 250000) COLLATE "default", '[^[:alnum:]]+', ' ', 'g'))) STORED
--
CREATE INDEX search_prompts ON prompts USING gin (words)
--
ALTER TABLE completion_bodies ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', regexp_replace(left(text, 250000) COLLATE "default", '[^[:alnum:]]+', ' ', 'g'))) STORED
--
CREATE INDEX search_completions ON completion_bodies USING gin (words)
--
CREATE VIEW v_models AS SELECT id, name, fingerprint FROM models
--
CREATE VIEW v_samples AS
SELECT s.id, s.title, s.group_path, s.notes, s.revision, p.id AS prompt_id, p.messages, p.text AS prompt, s.archived, s.hidden,
  s.created_at, s.changed_at, (SELECT string_agg(t.name, ', ') FROM (SELECT g.name FROM sample_tags x JOIN tags g ON g.id = x.tag_id WHERE x.sample_id = s.id ORDER BY g.name) t) AS tags,
  (SELECT count(*) FROM completions c WHERE c.sample_id = s.id) AS completions
FROM samples s JOIN prompts p ON p.sample_id = s.id AND p.number = s.revision
--
CREATE VIEW v_prompts AS SELECT id, sample_id, number, parent_id, messages, text, hash, created_at FROM prompts
--
CREATE VIEW v_completions AS
SELECT c.id, c.sample_id, c.prompt_id, m.name AS model, m.fingerprint, b.text,
  substr(b.text, b.generated_start + 1) AS generated_text, c.token_count, c.finish_reason, b.stop_string, c.truncated,
  c.archived, c.hidden, c.draft, c.parent_id, c.branch_position, c.mean_logprob, c.min_logprob, c.style, c.length, c.reasoning,
  c.refusal, c.formatting, (SELECT string_agg(t.name, ', ') FROM (SELECT g.name FROM completion_tags x JOIN tags g ON g.id = x.tag_id WHERE x.completion_id = c.id ORDER BY g.name) t) AS tags, b.spans, b.config, b.processors, b.seed, c.created_at
FROM completions c JOIN completion_bodies b ON b.id = c.id JOIN models m ON m.id = c.model_id
--
CREATE VIEW v_logprobs AS
SELECT l.completion_id, m.name AS model, m.fingerprint, l.start, l.token_count, l.sum_logprob, l.mean_logprob, l.min_logprob,
  l.p10_logprob, l.p50_logprob, l.mean_entropy, l.created_at
FROM logprobs l JOIN models m ON m.id = l.model_id
--
CREATE VIEW v_tokens AS
WITH RECURSIVE t AS (
  SELECT l.id AS logprobs_id, l.completion_id, l.model_id, l.start, l.token_count, l.measures, COALESCE(l.token_ids, substring(b.token_ids from l.start * 3 + 1)) AS ids, 0 AS i
  FROM logprobs l JOIN completion_bodies b ON b.id = l.completion_id WHERE l.token_count > 0
  UNION ALL
  SELECT logprobs_id, completion_id, model_id, start, token_count, measures, ids, i + 1 FROM t WHERE i + 1 < token_count
), d AS (
  SELECT completion_id, model_id, start + i AS position, (get_byte(ids, i * 3 + 0)::bigint * 65536 + get_byte(ids, i * 3 + 1)::bigint * 256 + get_byte(ids, i * 3 + 2)::bigint * 1) AS token_id,
    CASE (get_byte(measures, i * 10 + 0)::bigint * 16777216 + get_byte(measures, i * 10 + 1)::bigint * 65536 + get_byte(measures, i * 10 + 2)::bigint * 256 + get_byte(measures, i * 10 + 3)::bigint * 1) WHEN 4294967295 THEN NULL ELSE -(get_byte(measures, i * 10 + 0)::bigint * 16777216 + get_byte(measures, i * 10 + 1)::bigint * 65536 + get_byte(measures, i * 10 + 2)::bigint * 256 + get_byte(measures, i * 10 + 3)::bigint * 1) / 1000000.0 END AS logprob, (get_byte(measures, i * 10 + 4 + 0)::bigint * 65536 + get_byte(measures, i * 10 + 4 + 1)::bigint * 256 + get_byte(measures, i * 10 + 4 + 2)::bigint * 1) AS rank, (get_byte(measures, i * 10 + 7 + 0)::bigint * 65536 + get_byte(measures, i * 10 + 7 + 1)::bigint * 256 + get_byte(measures, i * 10 + 7 + 2)::bigint * 1) / 1000000.0 AS entropy
  FROM t
)
SELECT d.completion_id, m.name AS model, m.fingerprint, d.position, d.token_id, w.bytes AS token_bytes,
  d.logprob, d.rank, d.entropy
FROM d JOIN models m ON m.id = d.model_id LEFT JOIN vocabulary w ON w.model_id = d.model_id AND w.token_id = d.token_id
--
CREATE VIEW v_facets AS
SELECT f.id, f.name, f.description, p.name AS parent, f.good_rating, f.bad_rating, f.min_logprob, f.mean_logprob, f.target_model,
  f.created_at
FROM facets f LEFT JOIN facets p ON p.id = f.parent_id
--
CREATE VIEW v_ratings AS
SELECT r.completion_id, f.name AS facet, r.rating, r.origin, r.created_at FROM ratings r JOIN facets f ON f.id = r.facet_id
--
CREATE VIEW v_preferences AS
SELECT p.id, f.name AS facet, p.sample_id, p.better_id, p.worse_id, p.tie, p.origin, p.created_at
FROM preferences p JOIN facets f ON f.id = p.facet_id
--
CREATE VIEW v_approvals AS
SELECT a.sample_id, f.name AS facet, a.completion_id, a.created_at FROM approvals a JOIN facets f ON f.id = a.facet_id
--
CREATE VIEW v_tags AS SELECT id, name, description, scope, created_at FROM tags
--
CREATE VIEW v_beam_nodes AS
SELECT n.id, n.tree_id, t.sample_id, m.name AS model, n.parent_id, n.depth, n.token_id, w.bytes AS token_bytes, n.logprob,
  n.entropy, n.sum_logprob, n.min_logprob, n.ended, n.pinned, n.kept, n.pruned, n.bookmarked, n.dead_reason, n.completion_id
FROM beam_nodes n JOIN beam_trees t ON t.id = n.tree_id JOIN models m ON m.id = t.model_id
LEFT JOIN vocabulary w ON w.model_id = t.model_id AND w.token_id = n.token_id
--
CREATE VIEW v_history AS
SELECT a.id AS action_id, a.name AS action, a.detail, a.author, a.state, a.created_at, c.table_name, c.kind, c.first_id,
  c.last_id, c.before, c.after
FROM actions a LEFT JOIN changes c ON c.action_id = a.id
