"""Keep the present form of a workspace, with a little in it, as SQL, when it is released: python -m store.keep_schema"""

import sqlite3
import tempfile
from pathlib import Path

from ramify.store import Database, NewNode
from ramify.store.database import APPLICATION_ID
from ramify.store.migrations import HEAD
from store.stories import PIECES, sampled, written


def main() -> None:
    path = Path(tempfile.mkdtemp()) / "w.ramify"
    with Database.open(path) as db:
        sample = db.samples.add([{"role": "user", "content": "Once"}], title="A tale", group="tales", tags=["kept"])
        first = db.completions.add(sample.id, sampled())
        second = db.completions.add(sample.id, written())
        db.facets.add("legal", good_rating=8)
        db.judgements.rate(first.id, "legal", 7)
        db.judgements.prefer(second.id, first.id, "legal")
        tree = db.beams.tree(sample.id, "tiny", "tiny-1")
        way = [NewNode(token_id=1, logprob=-0.5, candidates=[(0, -0.25)], next_entropy=0.5), NewNode(token_id=0, ended=True)]
        db.beams.extend(tree.root_id, way, pieces=PIECES)
    plain = sqlite3.connect(path)
    # The full-text tables are virtual: their shadows come with them and are filled by rebuilding.
    virtual = [name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")]
    shadows = tuple(f"{name}_{part}" for name in virtual for part in ("data", "idx", "docsize", "config", "content"))
    lines = ["PRAGMA journal_mode=WAL;", f"PRAGMA application_id={APPLICATION_ID};", "PRAGMA foreign_keys=OFF;"]
    objects = plain.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    for kind in ("table", "index"):
        lines += [f"{sql};" for is_, name, sql in objects if is_ == kind and name not in shadows]
    for is_, name, _ in objects:
        if is_ == "table" and name not in shadows and name not in virtual:
            for row in plain.execute(f"SELECT * FROM {name}"):
                values = [plain.execute("SELECT quote(?)", (value,)).fetchone()[0] for value in row]
                lines.append(f"INSERT INTO {name} VALUES ({', '.join(values)});")
    lines += [f"INSERT INTO {name}({name}) VALUES ('rebuild');" for name in virtual]
    lines += [f"{sql};" for is_, _, sql in objects if is_ in ("trigger", "view")]
    (Path(__file__).parent / "schemas" / f"{HEAD}.sql").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
