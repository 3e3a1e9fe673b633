CREATE TABLE lab_runs (
	id BIGINT NOT NULL,
	name TEXT COLLATE "C" DEFAULT '' NOT NULL,
	plan TEXT COLLATE "C" DEFAULT '' NOT NULL,
	models TEXT COLLATE "C" DEFAULT '' NOT NULL,
	state TEXT COLLATE "C" DEFAULT '' NOT NULL,
	problem TEXT COLLATE "C",
	asked INTEGER NOT NULL,
	done INTEGER NOT NULL,
	report BYTEA,
	created_at TEXT COLLATE "C" DEFAULT '' NOT NULL,
	ended_at TEXT COLLATE "C",
	CONSTRAINT pk_lab_runs PRIMARY KEY (id),
	CONSTRAINT ck_lab_runs_state CHECK (state IN ('running', 'completed', 'cancelled', 'failed'))
)
