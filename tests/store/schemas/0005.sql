PRAGMA journal_mode=WAL;
PRAGMA application_id=1380011334;
PRAGMA foreign_keys=OFF;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE actions (
	id INTEGER NOT NULL,
	name TEXT DEFAULT '' NOT NULL,
	detail TEXT DEFAULT '' NOT NULL,
	author TEXT DEFAULT '' NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_actions PRIMARY KEY (id),
	CONSTRAINT ck_actions_state CHECK (state IN ('done', 'undone', 'abandoned'))
);
CREATE TABLE facets (
	id INTEGER NOT NULL,
	name TEXT NOT NULL,
	description TEXT DEFAULT '' NOT NULL,
	parent_id INTEGER,
	good_rating INTEGER,
	bad_rating INTEGER,
	min_logprob FLOAT,
	mean_logprob FLOAT,
	target_model TEXT,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_facets PRIMARY KEY (id),
	CONSTRAINT uq_facets_name UNIQUE (name),
	CONSTRAINT fk_facets_parent_id FOREIGN KEY(parent_id) REFERENCES facets (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE filters (
	id INTEGER NOT NULL,
	name TEXT NOT NULL,
	description TEXT DEFAULT '' NOT NULL,
	rules TEXT NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_filters PRIMARY KEY (id),
	CONSTRAINT uq_filters_name UNIQUE (name)
);
CREATE TABLE ids (
	name TEXT NOT NULL,
	next INTEGER NOT NULL,
	CONSTRAINT pk_ids PRIMARY KEY (name)
);
CREATE TABLE meta (
	name TEXT NOT NULL,
	value TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_meta PRIMARY KEY (name)
);
CREATE TABLE models (
	id INTEGER NOT NULL,
	name TEXT DEFAULT '' NOT NULL,
	fingerprint TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_models PRIMARY KEY (id),
	CONSTRAINT uq_models_name_fingerprint UNIQUE (name, fingerprint)
);
CREATE TABLE samples (
	id INTEGER NOT NULL,
	title TEXT DEFAULT '' NOT NULL,
	group_path TEXT DEFAULT '' NOT NULL,
	notes TEXT DEFAULT '' NOT NULL,
	revision INTEGER DEFAULT 1 NOT NULL,
	archived BOOLEAN DEFAULT 0 NOT NULL,
	hidden BOOLEAN DEFAULT 0 NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	changed_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_samples PRIMARY KEY (id)
);
CREATE TABLE settings (
	id INTEGER NOT NULL,
	name TEXT NOT NULL,
	value TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_settings PRIMARY KEY (id),
	CONSTRAINT uq_settings_name UNIQUE (name)
);
CREATE TABLE tags (
	id INTEGER NOT NULL,
	name TEXT NOT NULL,
	description TEXT DEFAULT '' NOT NULL,
	scope TEXT DEFAULT '' NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_tags PRIMARY KEY (id),
	CONSTRAINT ck_tags_scope CHECK (scope IN ('samples', 'completions', 'both')),
	CONSTRAINT uq_tags_name UNIQUE (name)
);
CREATE TABLE changes (
	id INTEGER NOT NULL,
	action_id INTEGER NOT NULL,
	table_name TEXT DEFAULT '' NOT NULL,
	kind TEXT DEFAULT '' NOT NULL,
	first_id INTEGER NOT NULL,
	last_id INTEGER NOT NULL,
	row_ids TEXT,
	"before" TEXT,
	"after" TEXT,
	CONSTRAINT pk_changes PRIMARY KEY (id),
	CONSTRAINT ck_changes_kind CHECK (kind IN ('insert', 'update', 'delete')),
	CONSTRAINT fk_changes_action_id FOREIGN KEY(action_id) REFERENCES actions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE prompts (
	id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	parent_id INTEGER,
	messages TEXT,
	text TEXT DEFAULT '' NOT NULL,
	hash TEXT NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_prompts PRIMARY KEY (id),
	CONSTRAINT uq_prompts_sample_id_number UNIQUE (sample_id, number),
	CONSTRAINT fk_prompts_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_prompts_parent_id FOREIGN KEY(parent_id) REFERENCES prompts (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE sample_images (
	id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	path TEXT DEFAULT '' NOT NULL,
	media_type TEXT DEFAULT '' NOT NULL,
	sha256 TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_sample_images PRIMARY KEY (id),
	CONSTRAINT fk_sample_images_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE sample_tags (
	id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	tag_id INTEGER NOT NULL,
	CONSTRAINT pk_sample_tags PRIMARY KEY (id),
	CONSTRAINT uq_sample_tags_sample_id_tag_id UNIQUE (sample_id, tag_id),
	CONSTRAINT fk_sample_tags_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_sample_tags_tag_id FOREIGN KEY(tag_id) REFERENCES tags (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE unanswered (
	id INTEGER NOT NULL,
	facet_id INTEGER NOT NULL,
	messages TEXT,
	text TEXT DEFAULT '' NOT NULL,
	hash TEXT NOT NULL,
	asked INTEGER DEFAULT 1 NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	sample_id INTEGER,
	created_at TEXT DEFAULT '' NOT NULL,
	asked_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_unanswered PRIMARY KEY (id),
	CONSTRAINT uq_unanswered_facet_id_hash UNIQUE (facet_id, hash),
	CONSTRAINT ck_unanswered_state CHECK (state IN ('waiting', 'answered', 'dismissed')),
	CONSTRAINT fk_unanswered_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_unanswered_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE vocabulary (
	model_id INTEGER NOT NULL,
	token_id INTEGER NOT NULL,
	bytes BLOB NOT NULL,
	CONSTRAINT pk_vocabulary PRIMARY KEY (model_id, token_id),
	CONSTRAINT fk_vocabulary_model_id FOREIGN KEY(model_id) REFERENCES models (id) DEFERRABLE INITIALLY DEFERRED
)
 WITHOUT ROWID;
CREATE TABLE beam_trees (
	id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	prompt_id INTEGER NOT NULL,
	model_id INTEGER NOT NULL,
	title TEXT DEFAULT '' NOT NULL,
	prefill BLOB NOT NULL,
	config TEXT DEFAULT '{}' NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_beam_trees PRIMARY KEY (id),
	CONSTRAINT uq_beam_trees_prompt_id_model_id_title UNIQUE (prompt_id, model_id, title),
	CONSTRAINT fk_beam_trees_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_trees_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_trees_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE completions (
	id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	prompt_id INTEGER NOT NULL,
	model_id INTEGER NOT NULL,
	parent_id INTEGER,
	branch_position INTEGER,
	finish_reason TEXT,
	truncated BOOLEAN DEFAULT 0 NOT NULL,
	archived BOOLEAN DEFAULT 0 NOT NULL,
	hidden BOOLEAN DEFAULT 0 NOT NULL,
	draft BOOLEAN DEFAULT 0 NOT NULL,
	token_count INTEGER,
	text_length INTEGER NOT NULL,
	mean_logprob FLOAT,
	min_logprob FLOAT,
	style TEXT,
	length TEXT,
	reasoning TEXT,
	refusal TEXT,
	formatting TEXT,
	created_at TEXT NOT NULL, bulk TEXT,
	CONSTRAINT pk_completions PRIMARY KEY (id),
	CONSTRAINT ck_completions_finish_reason CHECK (finish_reason IN ('eos', 'stop', 'length', 'time', 'cancelled', 'error', 'user', 'written', 'imported')),
	CONSTRAINT fk_completions_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completions_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completions_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completions_parent_id FOREIGN KEY(parent_id) REFERENCES completions (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE approvals (
	id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	facet_id INTEGER NOT NULL,
	completion_id INTEGER NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_approvals PRIMARY KEY (id),
	CONSTRAINT uq_approvals_sample_id_facet_id UNIQUE (sample_id, facet_id),
	CONSTRAINT fk_approvals_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_approvals_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_approvals_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE beam_nodes (
	id INTEGER NOT NULL,
	tree_id INTEGER NOT NULL,
	parent_id INTEGER,
	token_id INTEGER NOT NULL,
	depth INTEGER NOT NULL,
	logprob FLOAT,
	entropy FLOAT,
	rank INTEGER,
	sum_logprob FLOAT,
	min_logprob FLOAT,
	origin TEXT DEFAULT '' NOT NULL,
	ended BOOLEAN DEFAULT 0 NOT NULL,
	pinned BOOLEAN DEFAULT 0 NOT NULL,
	kept BOOLEAN DEFAULT 0 NOT NULL,
	pruned BOOLEAN DEFAULT 0 NOT NULL,
	bookmarked BOOLEAN DEFAULT 0 NOT NULL,
	dead_reason TEXT,
	completion_id INTEGER,
	candidates BLOB,
	created_at TEXT DEFAULT '' NOT NULL, next_entropy FLOAT,
	CONSTRAINT pk_beam_nodes PRIMARY KEY (id),
	CONSTRAINT uq_beam_nodes_parent_id_token_id UNIQUE (parent_id, token_id),
	CONSTRAINT fk_beam_nodes_tree_id FOREIGN KEY(tree_id) REFERENCES beam_trees (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_nodes_parent_id FOREIGN KEY(parent_id) REFERENCES beam_nodes (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_beam_nodes_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE completion_bodies (
	id INTEGER NOT NULL,
	text TEXT DEFAULT '' NOT NULL,
	generated_start INTEGER DEFAULT 0 NOT NULL,
	token_ids BLOB,
	spans TEXT DEFAULT '[]' NOT NULL,
	config TEXT DEFAULT '{}' NOT NULL,
	processors TEXT DEFAULT '[]' NOT NULL,
	seed BIGINT,
	stop_string TEXT,
	beam_score FLOAT,
	details TEXT DEFAULT '{}' NOT NULL,
	text_hash BLOB NOT NULL,
	CONSTRAINT pk_completion_bodies PRIMARY KEY (id),
	CONSTRAINT fk_completion_bodies_id FOREIGN KEY(id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE completion_tags (
	id INTEGER NOT NULL,
	completion_id INTEGER NOT NULL,
	tag_id INTEGER NOT NULL,
	CONSTRAINT pk_completion_tags PRIMARY KEY (id),
	CONSTRAINT uq_completion_tags_completion_id_tag_id UNIQUE (completion_id, tag_id),
	CONSTRAINT fk_completion_tags_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_completion_tags_tag_id FOREIGN KEY(tag_id) REFERENCES tags (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE logprobs (
	id INTEGER NOT NULL,
	completion_id INTEGER NOT NULL,
	model_id INTEGER NOT NULL,
	start INTEGER DEFAULT 0 NOT NULL,
	token_count INTEGER NOT NULL,
	min_logprob FLOAT,
	mean_logprob FLOAT,
	sum_logprob FLOAT,
	p10_logprob FLOAT,
	p50_logprob FLOAT,
	mean_entropy FLOAT,
	created_at TEXT DEFAULT '' NOT NULL,
	token_ids BLOB,
	measures BLOB NOT NULL,
	alternatives BLOB,
	CONSTRAINT pk_logprobs PRIMARY KEY (id),
	CONSTRAINT uq_logprobs_completion_id_model_id UNIQUE (completion_id, model_id),
	CONSTRAINT fk_logprobs_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_logprobs_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE preferences (
	id INTEGER NOT NULL,
	facet_id INTEGER NOT NULL,
	sample_id INTEGER NOT NULL,
	better_id INTEGER NOT NULL,
	worse_id INTEGER NOT NULL,
	tie BOOLEAN DEFAULT 0 NOT NULL,
	origin TEXT DEFAULT '' NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_preferences PRIMARY KEY (id),
	CONSTRAINT ck_preferences_pair CHECK (better_id <> worse_id),
	CONSTRAINT fk_preferences_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_preferences_sample_id FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_preferences_better_id FOREIGN KEY(better_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_preferences_worse_id FOREIGN KEY(worse_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE ratings (
	id INTEGER NOT NULL,
	completion_id INTEGER NOT NULL,
	facet_id INTEGER NOT NULL,
	rating INTEGER NOT NULL,
	origin TEXT DEFAULT '' NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_ratings PRIMARY KEY (id),
	CONSTRAINT uq_ratings_completion_id_facet_id UNIQUE (completion_id, facet_id),
	CONSTRAINT ck_ratings_rating CHECK (rating BETWEEN 0 AND 10),
	CONSTRAINT fk_ratings_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_ratings_facet_id FOREIGN KEY(facet_id) REFERENCES facets (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE VIRTUAL TABLE search_samples USING fts5(title, notes, content='samples', content_rowid='id', tokenize='unicode61 remove_diacritics 0');
CREATE VIRTUAL TABLE search_prompts USING fts5(text, content='prompts', content_rowid='id', tokenize='unicode61 remove_diacritics 0');
CREATE VIRTUAL TABLE search_completions USING fts5(text, content='completion_bodies', content_rowid='id', tokenize='unicode61 remove_diacritics 0');
CREATE TABLE tokenizations (
	id INTEGER NOT NULL,
	completion_id INTEGER NOT NULL,
	model_id INTEGER NOT NULL,
	token_ids BLOB NOT NULL,
	CONSTRAINT pk_tokenizations PRIMARY KEY (id),
	CONSTRAINT uq_tokenizations_completion_id_model_id UNIQUE (completion_id, model_id),
	CONSTRAINT fk_tokenizations_completion_id FOREIGN KEY(completion_id) REFERENCES completions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	CONSTRAINT fk_tokenizations_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE jobs (
	id INTEGER NOT NULL,
	"key" TEXT NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	spec TEXT NOT NULL,
	labels TEXT DEFAULT '{}' NOT NULL,
	total INTEGER,
	taken INTEGER DEFAULT 0 NOT NULL,
	done INTEGER DEFAULT 0 NOT NULL,
	failed INTEGER DEFAULT 0 NOT NULL,
	prompt_tokens BIGINT DEFAULT 0 NOT NULL,
	completion_tokens BIGINT DEFAULT 0 NOT NULL,
	run_s FLOAT DEFAULT 0 NOT NULL,
	beat_at FLOAT,
	cancelling BOOLEAN DEFAULT 0 NOT NULL,
	source TEXT,
	workers TEXT,
	error TEXT,
	created_at TEXT DEFAULT '' NOT NULL,
	started_at TEXT,
	ended_at TEXT,
	CONSTRAINT pk_jobs PRIMARY KEY (id),
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
	CONSTRAINT uq_jobs_key UNIQUE ("key")
);
CREATE TABLE files (
	id INTEGER NOT NULL,
	"key" TEXT NOT NULL,
	name TEXT DEFAULT '' NOT NULL,
	purpose TEXT DEFAULT '' NOT NULL,
	size_bytes BIGINT NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_files PRIMARY KEY (id),
	CONSTRAINT uq_files_key UNIQUE ("key")
);
CREATE TABLE job_requests (
	job_id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	request TEXT NOT NULL,
	CONSTRAINT pk_job_requests PRIMARY KEY (job_id, number),
	CONSTRAINT fk_job_requests_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE job_results (
	job_id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	error TEXT,
	result TEXT NOT NULL,
	prompt_tokens INTEGER NOT NULL,
	completion_tokens INTEGER NOT NULL,
	created_at TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_job_results PRIMARY KEY (job_id, number, attempt),
	CONSTRAINT fk_job_results_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE job_rows (
	job_id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	runner_id INTEGER,
	attempts INTEGER DEFAULT 0 NOT NULL,
	CONSTRAINT pk_job_rows PRIMARY KEY (job_id, number),
	CONSTRAINT ck_job_rows_state CHECK (state IN ('waiting', 'leased', 'done', 'failed')),
	CONSTRAINT fk_job_rows_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
 WITHOUT ROWID;
CREATE TABLE job_runners (
	id INTEGER NOT NULL,
	job_id INTEGER NOT NULL,
	host TEXT DEFAULT '' NOT NULL,
	pid INTEGER NOT NULL,
	born FLOAT NOT NULL,
	beat_at FLOAT NOT NULL,
	CONSTRAINT pk_job_runners PRIMARY KEY (id),
	CONSTRAINT fk_job_runners_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE lab_runs (
	id INTEGER NOT NULL,
	name TEXT DEFAULT '' NOT NULL,
	"plan" TEXT DEFAULT '' NOT NULL,
	models TEXT DEFAULT '' NOT NULL,
	state TEXT DEFAULT '' NOT NULL,
	problem TEXT,
	asked INTEGER NOT NULL,
	done INTEGER NOT NULL,
	report BLOB,
	created_at TEXT DEFAULT '' NOT NULL,
	ended_at TEXT,
	CONSTRAINT pk_lab_runs PRIMARY KEY (id),
	CONSTRAINT ck_lab_runs_state CHECK (state IN ('running', 'completed', 'cancelled', 'failed'))
);
CREATE INDEX ix_actions_state ON actions (state, id);
CREATE INDEX ix_facets_parent_id ON facets (parent_id);
CREATE INDEX ix_samples_archived ON samples (archived);
CREATE INDEX ix_samples_created_at ON samples (created_at);
CREATE INDEX ix_samples_group_path ON samples (group_path, id);
CREATE INDEX ix_samples_title ON samples (title, id);
CREATE INDEX ix_changes_action_id ON changes (action_id);
CREATE INDEX ix_changes_row ON changes (table_name, first_id);
CREATE INDEX ix_prompts_hash ON prompts (hash);
CREATE INDEX ix_prompts_parent_id ON prompts (parent_id);
CREATE INDEX ix_sample_images_sample_id ON sample_images (sample_id);
CREATE INDEX ix_sample_tags_tag_id ON sample_tags (tag_id, sample_id);
CREATE INDEX ix_unanswered_sample_id ON unanswered (sample_id);
CREATE INDEX ix_unanswered_state ON unanswered (facet_id, state, id);
CREATE INDEX ix_beam_trees_model_id ON beam_trees (model_id);
CREATE INDEX ix_beam_trees_sample_id ON beam_trees (sample_id);
CREATE INDEX ix_completions_archived ON completions (archived);
CREATE INDEX ix_completions_created_at ON completions (created_at);
CREATE INDEX ix_completions_draft ON completions (draft);
CREATE INDEX ix_completions_finish_reason ON completions (finish_reason);
CREATE INDEX ix_completions_hidden ON completions (hidden);
CREATE INDEX ix_completions_label_formatting ON completions (formatting) WHERE formatting IS NOT NULL;
CREATE INDEX ix_completions_label_length ON completions (length) WHERE length IS NOT NULL;
CREATE INDEX ix_completions_label_reasoning ON completions (reasoning) WHERE reasoning IS NOT NULL;
CREATE INDEX ix_completions_label_refusal ON completions (refusal) WHERE refusal IS NOT NULL;
CREATE INDEX ix_completions_label_style ON completions (style) WHERE style IS NOT NULL;
CREATE INDEX ix_completions_mean_logprob ON completions (mean_logprob);
CREATE INDEX ix_completions_min_logprob ON completions (min_logprob);
CREATE INDEX ix_completions_model_id ON completions (model_id);
CREATE INDEX ix_completions_parent_id ON completions (parent_id);
CREATE INDEX ix_completions_prompt_id ON completions (prompt_id);
CREATE INDEX ix_completions_sample_id ON completions (sample_id);
CREATE INDEX ix_completions_token_count ON completions (token_count);
CREATE INDEX ix_completions_truncated ON completions (truncated);
CREATE INDEX ix_approvals_completion_id ON approvals (completion_id);
CREATE INDEX ix_approvals_facet_id ON approvals (facet_id);
CREATE INDEX ix_beam_nodes_completion_id ON beam_nodes (completion_id);
CREATE INDEX ix_beam_nodes_tree_id ON beam_nodes (tree_id, depth);
CREATE INDEX ix_completion_tags_tag_id ON completion_tags (tag_id, completion_id);
CREATE INDEX ix_logprobs_mean ON logprobs (model_id, mean_logprob, completion_id);
CREATE INDEX ix_logprobs_min ON logprobs (model_id, min_logprob, completion_id);
CREATE INDEX ix_logprobs_p10 ON logprobs (model_id, p10_logprob, completion_id);
CREATE INDEX ix_preferences_better_id ON preferences (better_id);
CREATE INDEX ix_preferences_facet_id ON preferences (facet_id, sample_id);
CREATE INDEX ix_preferences_sample_id ON preferences (sample_id);
CREATE INDEX ix_preferences_worse_id ON preferences (worse_id);
CREATE INDEX ix_ratings_facet_id ON ratings (facet_id, rating, completion_id);
CREATE INDEX ix_completions_bulk ON completions (bulk, prompt_id) WHERE bulk IS NOT NULL;
CREATE INDEX ix_jobs_state ON jobs (state, id);
CREATE INDEX ix_job_rows_state ON job_rows (job_id, state, number);
CREATE INDEX ix_job_runners_job_id ON job_runners (job_id);
INSERT INTO alembic_version VALUES ('0005');
INSERT INTO actions VALUES (1, 'add sample', 'A tale', '', 'done', '2026-11-27T05:25:09.319710Z');
INSERT INTO actions VALUES (2, 'add completion', 'tiny', '', 'done', '2026-11-27T05:25:09.341862Z');
INSERT INTO actions VALUES (3, 'add completion', 'manual', '', 'done', '2026-11-27T05:25:09.364015Z');
INSERT INTO actions VALUES (4, 'add facet', 'legal', '', 'done', '2026-11-27T05:25:09.372630Z');
INSERT INTO actions VALUES (5, 'rate', 'legal', '', 'done', '2026-11-27T05:25:09.381581Z');
INSERT INTO actions VALUES (6, 'prefer', 'legal', '', 'done', '2026-11-27T05:25:09.387434Z');
INSERT INTO actions VALUES (7, 'grow tree', 'tiny', '', 'done', '2026-11-27T05:25:09.402963Z');
INSERT INTO actions VALUES (8, 'extend beams', '1', '', 'done', '2026-11-27T05:25:09.418107Z');
INSERT INTO facets VALUES (1, 'legal', '', NULL, 8, NULL, NULL, NULL, NULL, '2026-11-27T05:25:09.372630Z');
INSERT INTO ids VALUES ('samples', 2);
INSERT INTO ids VALUES ('actions', 9);
INSERT INTO ids VALUES ('changes', 17);
INSERT INTO ids VALUES ('prompts', 2);
INSERT INTO ids VALUES ('tags', 2);
INSERT INTO ids VALUES ('sample_tags', 2);
INSERT INTO ids VALUES ('models', 3);
INSERT INTO ids VALUES ('completions', 3);
INSERT INTO ids VALUES ('logprobs', 2);
INSERT INTO ids VALUES ('facets', 2);
INSERT INTO ids VALUES ('ratings', 2);
INSERT INTO ids VALUES ('preferences', 2);
INSERT INTO ids VALUES ('beam_trees', 2);
INSERT INTO ids VALUES ('beam_nodes', 4);
INSERT INTO meta VALUES ('workspace', '454d4a83dbbc4140a8343f6c81e7a174');
INSERT INTO meta VALUES ('created_at', '2026-11-27T05:25:09.290767Z');
INSERT INTO models VALUES (1, 'tiny', 'tiny-1');
INSERT INTO models VALUES (2, 'manual', '');
INSERT INTO samples VALUES (1, 'A tale', 'tales', '', 1, 0, 0, '2026-11-27T05:25:09.319710Z', '2026-11-27T05:25:09.319710Z');
INSERT INTO tags VALUES (1, 'kept', '', 'both', '2026-11-27T05:25:09.319710Z');
INSERT INTO changes VALUES (1, 1, 'samples', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (2, 1, 'prompts', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (3, 1, 'tags', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (4, 1, 'sample_tags', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (5, 2, 'completions', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (6, 2, 'completion_bodies', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (7, 2, 'logprobs', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (8, 3, 'completions', 'insert', 2, 2, NULL, NULL, NULL);
INSERT INTO changes VALUES (9, 3, 'completion_bodies', 'insert', 2, 2, NULL, NULL, NULL);
INSERT INTO changes VALUES (10, 4, 'facets', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (11, 5, 'ratings', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (12, 6, 'preferences', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (13, 7, 'beam_trees', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (14, 7, 'beam_nodes', 'insert', 1, 1, NULL, NULL, NULL);
INSERT INTO changes VALUES (15, 8, 'beam_nodes', 'insert', 2, 2, NULL, NULL, NULL);
INSERT INTO changes VALUES (16, 8, 'beam_nodes', 'insert', 3, 3, NULL, NULL, NULL);
INSERT INTO prompts VALUES (1, 1, 1, NULL, '[{"content":"Once","role":"user"}]', 'Once', 'a2be6ff2f878d4709afea30e113010824855a3534eacc97c92c3703adad9e8cf', '2026-11-27T05:25:09.319710Z');
INSERT INTO sample_tags VALUES (1, 1, 1);
INSERT INTO vocabulary VALUES (1, 0, X'');
INSERT INTO vocabulary VALUES (1, 1, X'2061');
INSERT INTO vocabulary VALUES (1, 2, X'206865646765686F67');
INSERT INTO vocabulary VALUES (1, 3, X'2072616E');
INSERT INTO vocabulary VALUES (1, 4, X'6EC3A9');
INSERT INTO vocabulary VALUES (1, 5, X'F09F');
INSERT INTO vocabulary VALUES (1, 6, X'A694');
INSERT INTO beam_trees VALUES (1, 1, 1, 1, '', X'', '{}', '2026-11-27T05:25:09.402963Z');
INSERT INTO completions VALUES (1, 1, 1, 1, NULL, NULL, 'eos', 0, 0, 0, 0, 3, 11, -0.625, -1.5, NULL, NULL, NULL, NULL, NULL, '2026-11-27T05:25:09.341862Z', NULL);
INSERT INTO completions VALUES (2, 1, 1, 2, NULL, NULL, 'written', 0, 0, 0, 0, NULL, 8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27T05:25:09.364015Z', NULL);
INSERT INTO beam_nodes VALUES (1, 1, NULL, -1, 0, NULL, NULL, NULL, 0.0, NULL, 'root', 0, 0, 0, 0, 0, NULL, NULL, NULL, '2026-11-27T05:25:09.402963Z', NULL);
INSERT INTO beam_nodes VALUES (2, 1, 1, 1, 1, -0.5, NULL, NULL, -0.5, -0.5, 'sampled', 0, 0, 0, 0, 0, NULL, NULL, X'000000BE800000', '2026-11-27T05:25:09.418107Z', 0.5);
INSERT INTO beam_nodes VALUES (3, 1, 2, 0, 2, NULL, NULL, NULL, NULL, NULL, 'sampled', 1, 0, 0, 0, 0, NULL, NULL, NULL, '2026-11-27T05:25:09.418107Z', NULL);
INSERT INTO completion_bodies VALUES (1, ' a hedgehog', 0, X'000001000002000000', '[[0,3,"sampled"]]', '{"temperature":0.5}', '["temperature"]', 7, NULL, NULL, '{}', X'7518D5B08C98D02107ABA2E0CEC2D39B');
INSERT INTO completion_bodies VALUES (2, 'By hand.', 0, NULL, '[[0,8,"typed"]]', '{}', '[]', NULL, NULL, NULL, '{}', X'8F28E576F3A133373B0A0D5DA625E1EC');
INSERT INTO logprobs VALUES (1, 1, 1, 0, 3, -1.5, -0.625, -1.875, -1.25, -0.25, 1.5, '2026-11-27T05:25:09.341862Z', NULL, X'0003D09000000116E3600016E3600000021E84800001E8480000010F4240', X'789C6360606066606060626280014626663087598E5BEC424BE1E3090D1B12001AEE051A');
INSERT INTO preferences VALUES (1, 1, 1, 2, 1, 0, 'hand', '2026-11-27T05:25:09.387434Z');
INSERT INTO ratings VALUES (1, 1, 1, 7, 'hand', '2026-11-27T05:25:09.381581Z');
INSERT INTO search_samples(search_samples) VALUES ('rebuild');
INSERT INTO search_prompts(search_prompts) VALUES ('rebuild');
INSERT INTO search_completions(search_completions) VALUES ('rebuild');
CREATE TRIGGER search_samples_insert AFTER INSERT ON samples BEGIN INSERT INTO search_samples(rowid, title, notes) VALUES (new.id, new.title, new.notes); END;
CREATE TRIGGER search_samples_delete AFTER DELETE ON samples BEGIN INSERT INTO search_samples(search_samples, rowid, title, notes) VALUES ('delete', old.id, old.title, old.notes); END;
CREATE TRIGGER search_samples_update AFTER UPDATE OF title, notes ON samples BEGIN INSERT INTO search_samples(search_samples, rowid, title, notes) VALUES ('delete', old.id, old.title, old.notes); INSERT INTO search_samples(rowid, title, notes) VALUES (new.id, new.title, new.notes); END;
CREATE TRIGGER search_prompts_insert AFTER INSERT ON prompts BEGIN INSERT INTO search_prompts(rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER search_prompts_delete AFTER DELETE ON prompts BEGIN INSERT INTO search_prompts(search_prompts, rowid, text) VALUES ('delete', old.id, old.text); END;
CREATE TRIGGER search_prompts_update AFTER UPDATE OF text ON prompts BEGIN INSERT INTO search_prompts(search_prompts, rowid, text) VALUES ('delete', old.id, old.text); INSERT INTO search_prompts(rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER search_completions_insert AFTER INSERT ON completion_bodies BEGIN INSERT INTO search_completions(rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER search_completions_delete AFTER DELETE ON completion_bodies BEGIN INSERT INTO search_completions(search_completions, rowid, text) VALUES ('delete', old.id, old.text); END;
CREATE TRIGGER search_completions_update AFTER UPDATE OF text ON completion_bodies BEGIN INSERT INTO search_completions(search_completions, rowid, text) VALUES ('delete', old.id, old.text); INSERT INTO search_completions(rowid, text) VALUES (new.id, new.text); END;
CREATE VIEW v_models AS SELECT id, name, fingerprint FROM models;
CREATE VIEW v_samples AS
SELECT s.id, s.title, s.group_path, s.notes, s.revision, p.id AS prompt_id, p.messages, p.text AS prompt, s.archived, s.hidden,
  s.created_at, s.changed_at, (SELECT group_concat(t.name, ', ') FROM (SELECT g.name FROM sample_tags x JOIN tags g ON g.id = x.tag_id WHERE x.sample_id = s.id ORDER BY g.name) t) AS tags,
  (SELECT count(*) FROM completions c WHERE c.sample_id = s.id) AS completions
FROM samples s JOIN prompts p ON p.sample_id = s.id AND p.number = s.revision;
CREATE VIEW v_prompts AS SELECT id, sample_id, number, parent_id, messages, text, hash, created_at FROM prompts;
CREATE VIEW v_logprobs AS
SELECT l.completion_id, m.name AS model, m.fingerprint, l.start, l.token_count, l.sum_logprob, l.mean_logprob, l.min_logprob,
  l.p10_logprob, l.p50_logprob, l.mean_entropy, l.created_at
FROM logprobs l JOIN models m ON m.id = l.model_id;
CREATE VIEW v_facets AS
SELECT f.id, f.name, f.description, p.name AS parent, f.good_rating, f.bad_rating, f.min_logprob, f.mean_logprob, f.target_model,
  f.created_at
FROM facets f LEFT JOIN facets p ON p.id = f.parent_id;
CREATE VIEW v_ratings AS
SELECT r.completion_id, f.name AS facet, r.rating, r.origin, r.created_at FROM ratings r JOIN facets f ON f.id = r.facet_id;
CREATE VIEW v_preferences AS
SELECT p.id, f.name AS facet, p.sample_id, p.better_id, p.worse_id, p.tie, p.origin, p.created_at
FROM preferences p JOIN facets f ON f.id = p.facet_id;
CREATE VIEW v_approvals AS
SELECT a.sample_id, f.name AS facet, a.completion_id, a.created_at FROM approvals a JOIN facets f ON f.id = a.facet_id;
CREATE VIEW v_tags AS SELECT id, name, description, scope, created_at FROM tags;
CREATE VIEW v_history AS
SELECT a.id AS action_id, a.name AS action, a.detail, a.author, a.state, a.created_at, c.table_name, c.kind, c.first_id,
  c.last_id, c.before, c.after
FROM actions a LEFT JOIN changes c ON c.action_id = a.id;
CREATE VIEW v_beam_nodes AS
SELECT n.id, n.tree_id, t.sample_id, m.name AS model, n.parent_id, n.depth, n.token_id, w.bytes AS token_bytes, n.logprob,
  n.entropy, n.sum_logprob, n.min_logprob, n.ended, n.pinned, n.kept, n.pruned, n.bookmarked, n.dead_reason, n.completion_id,
  n.rank, n.origin, n.next_entropy
FROM beam_nodes n JOIN beam_trees t ON t.id = n.tree_id JOIN models m ON m.id = t.model_id
LEFT JOIN vocabulary w ON w.model_id = t.model_id AND w.token_id = n.token_id;
CREATE VIEW v_completions AS
SELECT c.id, c.sample_id, c.prompt_id, m.name AS model, m.fingerprint, b.text,
  substr(b.text, b.generated_start + 1) AS generated_text, c.token_count, c.finish_reason, b.stop_string, c.truncated,
  c.archived, c.hidden, c.draft, c.parent_id, c.branch_position, c.mean_logprob, c.min_logprob, c.style, c.length, c.reasoning,
  c.refusal, c.formatting, (SELECT group_concat(t.name, ', ') FROM (SELECT g.name FROM completion_tags x JOIN tags g ON g.id = x.tag_id WHERE x.completion_id = c.id ORDER BY g.name) t) AS tags, b.spans, b.config, b.processors, b.seed, c.created_at, c.bulk
FROM completions c JOIN completion_bodies b ON b.id = c.id JOIN models m ON m.id = c.model_id;
CREATE VIEW v_tokens AS
WITH RECURSIVE t AS (
  SELECT l.id AS logprobs_id, l.completion_id, l.model_id, l.start, l.token_count, l.measures, COALESCE(l.token_ids, substr(b.token_ids, l.start * 3 + 1)) AS ids, 0 AS i
  FROM logprobs l JOIN completion_bodies b ON b.id = l.completion_id WHERE l.token_count > 0
  UNION ALL
  SELECT logprobs_id, completion_id, model_id, start, token_count, measures, ids, i + 1 FROM t WHERE i + 1 < token_count
), d AS (
  SELECT completion_id, model_id, start + i AS position, ((instr('123456789ABCDEF', substr(hex(substr(ids, i * 3 + 1, 3)), 1, 1)) * 1048576) + (instr('123456789ABCDEF', substr(hex(substr(ids, i * 3 + 1, 3)), 2, 1)) * 65536) + (instr('123456789ABCDEF', substr(hex(substr(ids, i * 3 + 1, 3)), 3, 1)) * 4096) + (instr('123456789ABCDEF', substr(hex(substr(ids, i * 3 + 1, 3)), 4, 1)) * 256) + (instr('123456789ABCDEF', substr(hex(substr(ids, i * 3 + 1, 3)), 5, 1)) * 16) + (instr('123456789ABCDEF', substr(hex(substr(ids, i * 3 + 1, 3)), 6, 1)) * 1)) AS token_id,
    CASE ((instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 1, 1)) * 268435456) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 2, 1)) * 16777216) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 3, 1)) * 1048576) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 4, 1)) * 65536) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 5, 1)) * 4096) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 6, 1)) * 256) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 7, 1)) * 16) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 8, 1)) * 1)) WHEN 4294967295 THEN NULL ELSE -((instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 1, 1)) * 268435456) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 2, 1)) * 16777216) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 3, 1)) * 1048576) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 4, 1)) * 65536) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 5, 1)) * 4096) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 6, 1)) * 256) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 7, 1)) * 16) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 1, 4)), 8, 1)) * 1)) / 1000000.0 END AS logprob, NULLIF(((instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 4 + 1, 3)), 1, 1)) * 1048576) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 4 + 1, 3)), 2, 1)) * 65536) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 4 + 1, 3)), 3, 1)) * 4096) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 4 + 1, 3)), 4, 1)) * 256) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 4 + 1, 3)), 5, 1)) * 16) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 4 + 1, 3)), 6, 1)) * 1)), 0) AS rank, NULLIF(((instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 7 + 1, 3)), 1, 1)) * 1048576) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 7 + 1, 3)), 2, 1)) * 65536) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 7 + 1, 3)), 3, 1)) * 4096) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 7 + 1, 3)), 4, 1)) * 256) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 7 + 1, 3)), 5, 1)) * 16) + (instr('123456789ABCDEF', substr(hex(substr(measures, i * 10 + 7 + 1, 3)), 6, 1)) * 1)), 16777215) / 1000000.0 AS entropy
  FROM t
)
SELECT d.completion_id, m.name AS model, m.fingerprint, d.position, d.token_id, w.bytes AS token_bytes,
  d.logprob, d.rank, d.entropy
FROM d JOIN models m ON m.id = d.model_id LEFT JOIN vocabulary w ON w.model_id = d.model_id AND w.token_id = d.token_id;
