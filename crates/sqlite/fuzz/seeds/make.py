"""Writes the seeds of the fuzz targets: files that SQLite leaves when it is interrupted. Run in this directory."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# What is done to the database of the given page size before the process ends without closing anything.
ROLLBACK = {
    "one-page": (512, "PRAGMA cache_size=1", "BEGIN; UPDATE t SET b = randomblob(50) WHERE a = 1; "
                      "INSERT INTO t SELECT NULL, randomblob(100) FROM t"),
    "segments": (1024, "PRAGMA cache_size=2", "BEGIN; UPDATE t SET b = randomblob(90); DELETE FROM t WHERE a % 3 = 0; "
                       "INSERT INTO t SELECT NULL, randomblob(300) FROM t"),
    "large-pages": (4096, "PRAGMA cache_size=1", "BEGIN; UPDATE t SET b = randomblob(1200) WHERE a < 6"),
    "persist": (512, "PRAGMA journal_mode=persist", "UPDATE t SET b = 'x'; BEGIN; UPDATE t SET b = 'y' WHERE a = 2; COMMIT"),
    "several": (512, "PRAGMA cache_size=1; ATTACH 'other' AS o; CREATE TABLE o.t(x)", None),
}
LOG = {
    "one-commit": (512, "INSERT INTO t VALUES (NULL, 'x')"),
    "unfinished": (1024, "PRAGMA cache_size=1; INSERT INTO t VALUES (NULL, 'x'); BEGIN; "
                         "INSERT INTO t SELECT NULL, randomblob(700) FROM t"),
    "begun-again": (512, "INSERT INTO t SELECT NULL, randomblob(300) FROM t; PRAGMA wal_checkpoint(RESTART); "
                         "INSERT INTO t VALUES (NULL, 'y')"),
    "large-pages": (4096, "INSERT INTO t VALUES (NULL, randomblob(5000))"),
}

CHILD = """
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.executescript(sys.argv[2])
os._exit(0)
"""


def interrupted(path, sql):
    subprocess.run([sys.executable, "-c", CHILD, path, sql], check=True, cwd=os.path.dirname(path))


def database(directory, page_size, mode):
    path = os.path.join(directory, "app")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"PRAGMA page_size={page_size}; PRAGMA journal_mode={mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
    )
    for number in range(48):
        connection.execute("INSERT INTO t VALUES (NULL, ?)", (f"{number}" * 30,))
    connection.close()
    return path


def keep(path, target, name):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    shutil.copyfile(path, os.path.join(HERE, target, name))


def several(directory, path):
    """A journal that names a super-journal: the commit is stopped where the super-journal goes."""
    sql = "ATTACH 'other' AS o; CREATE TABLE IF NOT EXISTS o.t(x); BEGIN; UPDATE t SET b = 'z'; INSERT INTO o.t VALUES (1); COMMIT"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=unlink", "-e", "inject=unlink:error=EIO:signal=KILL:when=2",
         sys.executable, "-c", CHILD, path, sql],
        cwd=directory,
    )


for name, (page_size, before, sql) in ROLLBACK.items():
    with tempfile.TemporaryDirectory() as directory:
        path = database(directory, page_size, "delete")
        if sql is None:
            several(directory, path)
        else:
            interrupted(path, f"{before}; {sql}")
        keep(path + "-journal", "journal", name)

for name, (page_size, sql) in LOG.items():
    with tempfile.TemporaryDirectory() as directory:
        path = database(directory, page_size, "wal")
        interrupted(path, sql)
        keep(path + "-wal", "wal", name)
        if name in ("unfinished", "begun-again"):
            keep(path + "-shm", "wal_index", name)
