"""Reads the ledger over and over until standard input ends, and prints what it saw as JSON.

The same part in another language: another build of SQLite, another way to prepare statements.
"""
import json
import select
import sqlite3
import sys

report = {"reads": 0, "states": 0, "errors": {}, "violations": []}
last = -1


def tick(connection, row):
    return connection.execute("SELECT value FROM tick WHERE id = ?", (row,)).fetchone()[0]


def look(connection):
    """One read transaction."""
    global last
    connection.execute("BEGIN")
    first = tick(connection, 1)
    balances = connection.execute("SELECT sum(balance) FROM account").fetchone()[0]
    found = connection.execute(
        "SELECT count(*), coalesce(sum(length(data)), 0), coalesce(sum(digest), 0) FROM item NOT INDEXED").fetchone()
    noted = connection.execute("SELECT items, bytes, digests FROM total").fetchone()
    second = tick(connection, 64)
    connection.execute("COMMIT")
    for what, good in (("the two far rows", first == second), ("sum of the balances", balances == 40000),
                       ("count, bytes and digests of the items", found == noted), ("back in time", second >= last)):
        if not good:
            report["violations"].append(what)
    report["reads"] += 1
    report["states"] += second > last
    last = max(last, second)
    if report["reads"] == 1:
        print("reading", flush=True)


def over():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def connect():
    mode = "ro" if sys.argv[2] == "read-only" else "rw"
    return sqlite3.connect(f"file:{sys.argv[1]}?mode={mode}", uri=True, isolation_level=None, timeout=40)


def main():
    connection, used, looks_left = None, 0, None
    while looks_left != 0:
        if looks_left is None and over():
            looks_left = 1
        try:
            if connection is None or used > 60:
                connection, used = connect(), 0
            look(connection)
            used += 1
        except sqlite3.Error as error:
            text, connection = str(error), None
            absent = "no such table" in text or "unable to open database file" in text
            if report["reads"] > 0 or not absent:
                report["errors"][text] = report["errors"].get(text, 0) + 1
        if looks_left is not None:
            looks_left -= 1
    print(json.dumps(report), flush=True)


main()
