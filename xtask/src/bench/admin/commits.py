"""Durable commits of one row a second, SQLite, one after the other: python commits.py FOLDER SECONDS"""

import os
import sqlite3
import sys
import time

path = os.path.join(sys.argv[1], "commits.db")
span = float(sys.argv[2])
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
done, began = 0, time.monotonic()
while time.monotonic() - began < span:
    database.execute("INSERT INTO one (body) VALUES (?)", ("x" * 400,))
    done += 1
print(done / (time.monotonic() - began))
