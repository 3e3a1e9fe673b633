CREATE TABLE jobs (
	id BIGINT NOT NULL,
	key TEXT NOT NULL,
	state TEXT COLLATE "C" DEFAULT '' NOT NULL,
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
	cancelling BOOLEAN DEFAULT false NOT NULL,
	source TEXT,
	workers TEXT,
	error TEXT,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	started_at TEXT COLLATE "C",
	ended_at TEXT COLLATE "C",
	CONSTRAINT pk_jobs PRIMARY KEY (id),
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
	CONSTRAINT uq_jobs_key UNIQUE (key)
)
--
CREATE INDEX ix_jobs_state ON jobs (state, id)
--
CREATE TABLE files (
	id BIGINT NOT NULL,
	key TEXT NOT NULL,
	name TEXT COLLATE "C" DEFAULT '' NOT NULL,
	purpose TEXT COLLATE "C" DEFAULT '' NOT NULL,
	size_bytes BIGINT NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_files PRIMARY KEY (id),
	CONSTRAINT uq_files_key UNIQUE (key)
)
--
CREATE TABLE job_requests (
	job_id BIGINT NOT NULL,
	number INTEGER NOT NULL,
	request TEXT NOT NULL,
	CONSTRAINT pk_job_requests PRIMARY KEY (job_id, number),
	CONSTRAINT fk_job_requests_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE TABLE job_results (
	job_id BIGINT NOT NULL,
	number INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	error TEXT,
	result TEXT NOT NULL,
	prompt_tokens INTEGER NOT NULL,
	completion_tokens INTEGER NOT NULL,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	CONSTRAINT pk_job_results PRIMARY KEY (job_id, number, attempt),
	CONSTRAINT fk_job_results_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE TABLE job_rows (
	job_id BIGINT NOT NULL,
	number INTEGER NOT NULL,
	state TEXT COLLATE "C" DEFAULT '' NOT NULL,
	runner_id BIGINT,
	attempts INTEGER DEFAULT 0 NOT NULL,
	CONSTRAINT pk_job_rows PRIMARY KEY (job_id, number),
	CONSTRAINT ck_job_rows_state CHECK (state IN ('waiting', 'leased', 'done', 'failed')),
	CONSTRAINT fk_job_rows_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_job_rows_state ON job_rows (job_id, state, number)
--
CREATE TABLE job_runners (
	id BIGINT NOT NULL,
	job_id BIGINT NOT NULL,
	host TEXT COLLATE "C" DEFAULT '' NOT NULL,
	pid INTEGER NOT NULL,
	born FLOAT NOT NULL,
	beat_at FLOAT NOT NULL,
	CONSTRAINT pk_job_runners PRIMARY KEY (id),
	CONSTRAINT fk_job_runners_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
--
CREATE INDEX ix_job_runners_job_id ON job_runners (job_id)
