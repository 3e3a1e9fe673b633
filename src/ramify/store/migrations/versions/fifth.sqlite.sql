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
)
