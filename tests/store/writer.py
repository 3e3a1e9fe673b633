"""A process that writes until it is killed, and says what was acknowledged: python -m store.writer FILE NAME [COUNT]

Without a count it is alone, and takes some steps back and does them again. Beside another writer it does not: what the other
one does in between is a new step, after which nothing can be done again.
"""

import itertools
import sys

from ramify.store import Database
from store.stories import sampled


def main(where: str, name: str, count: int | None) -> None:
    with Database.open(where) as db:
        print("open", flush=True)
        for n in itertools.count() if count is None else range(count):
            with db.action(name):
                sample = db.samples.add(f"{name} {n}", title=name, tags=[name])
                made = db.completions.add(sample.id, sampled(f"text {name} {n}"))
                counted = int(db.settings.get("counted", 0))
                db.settings.set("counted", counted + 1)
            if count is None and n % 5 == 4:
                db.history.undo()
                db.history.redo()
            print(n, sample.id, made.id, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
