"""Copies one key of a stopped SQLite node until there are so many, over 100 owners: python seed.py DATABASE KEYS"""

import sqlite3
import sys

OWNERS = 100

database = sqlite3.connect(sys.argv[1], isolation_level=None)
wanted = int(sys.argv[2])


def columns(table):
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def copy(table, changed, many):
    """Rows like the first one, with some columns computed from n."""
    chosen = ", ".join(changed.get(name, f"t.{name}") for name in columns(table))
    database.execute(
        f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {many}) "
        f"INSERT INTO {table} ({', '.join(columns(table))}) "
        f"SELECT {chosen} FROM c, (SELECT * FROM {table} ORDER BY created_us LIMIT 1) t"
    )


database.execute("PRAGMA synchronous = OFF")
database.execute("BEGIN")
copy("owners", {"id": "'own_' || printf('%010d', n)", "name": "'owner ' || n"}, OWNERS)
key = {
    "id": "'key_' || printf('%010d', n)",
    "lineage": "'key_' || printf('%010d', n)",
    "created_us": "t.created_us + n",
    "owner_id": f"'own_' || printf('%010d', 1 + n % {OWNERS})",
}
copy("api_keys", key, wanted)
database.execute("COMMIT")
database.execute("ANALYZE")
database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
