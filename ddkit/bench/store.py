"""What a bench has finished, in SQLite: written cell by cell, by several processes at once."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddkit.runtime.errors import DdkitError

NAME = "bench.sqlite"
VERSION = 2  # 1 kept evaluations and their accuracies apart from the figures that show them
WAIT_SECONDS = 60.0  # for another process that writes, which takes milliseconds
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    kind TEXT NOT NULL,             -- bench, cell, set, figure, real, settled
    key TEXT NOT NULL,
    about TEXT NOT NULL,            -- JSON: what it is
    result TEXT,                    -- JSON: what came out; NULL where it failed
    error TEXT,                     -- one line; NULL where it worked
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (kind, key)
);
"""


@dataclass(frozen=True)
class Entry:
    """One thing that was done, or failed: then `error` says why, in one line."""

    kind: str
    key: str
    about: dict[str, Any]
    result: Any
    error: str | None
    at: str


class Store:
    """The figures of a bench's folder. Each entry is written whole, in a transaction of its own."""

    def __init__(self, folder: Path, *, create: bool = True):
        """Open the store; raises `DdkitError` where there is none, or a damaged one.

        Args:
            create: whether it is to be written; else it has to be there, in whatever version.
        """
        self.path = folder / NAME
        if not create and not self.path.exists():
            raise DdkitError(f"{folder} holds no bench: there is no {NAME} in it")
        folder.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._database = sqlite3.connect(self.path, timeout=WAIT_SECONDS)
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise DdkitError(f"{self.path} was written by a newer ddkit: update yours")
            # opening what is up to date, or only read, writes nothing, nor waits for others
            if version < VERSION and (create or not version):
                self._database.executescript(SCHEMA)
                self._database.execute(f"PRAGMA user_version = {VERSION}")
                self._database.commit()

    def put(self, kind: str, key: str, about: Mapping[str, Any], result: Any) -> None:
        """Store what came out; what was stored under this key before is replaced."""
        self._write(kind, key, about, json.dumps(result, sort_keys=True), None)

    def fail(self, kind: str, key: str, about: Mapping[str, Any], error: str) -> None:
        """Store that it failed, and why."""
        self._write(kind, key, about, None, error)

    def get(self, kind: str, key: str) -> Entry | None:
        """Return an entry, or None where there is none."""
        found = list(self._entries("WHERE kind = ? AND key = ?", kind, key))
        return found[0] if found else None

    def result(self, kind: str, key: str) -> Any:
        """Return what came out, or None where it is not done, or failed."""
        entry = self.get(kind, key)
        return None if entry is None else entry.result

    def all(self, kind: str) -> list[Entry]:
        """Return the entries of a kind, in the order in which they were first stored."""
        return list(self._entries("WHERE kind = ? ORDER BY rowid", kind))

    def evaluated(self, kind: str) -> Iterator[Entry]:
        """Yield the entries of a kind, "figure" or "real", for which networks were trained.

        `result["evaluation"]` is what these reached, `Evaluation.to_json` with the version of the
        evaluation: 0 in what stores of version 1 hold, which keep it apart.
        """
        for entry in self.all(kind):
            found = entry.result and entry.result["evaluation"]
            if isinstance(found, str):
                found = self._evaluation(found)
            if found:
                yield replace(entry, result={**entry.result, "evaluation": found})

    def _evaluation(self, key: str) -> dict[str, Any] | None:
        """Return an evaluation of a store of version 1; None where no network was trained."""
        entry = self.get("evaluation", key)
        query = "SELECT accuracy FROM accuracies WHERE evaluation = ? ORDER BY seed"
        with self._explained():
            found = [accuracy for (accuracy,) in self._database.execute(query, (key,))]
        if entry is None or not found:
            return None
        about = {"version": 0, "tuned": bool(entry.about.get("tuned")), "accuracies": found}
        return {**entry.result, **about}

    def _write(
        self, kind: str, key: str, about: Mapping[str, Any], result: str | None, error: str | None
    ) -> None:
        row = (kind, key, json.dumps(dict(about), sort_keys=True, default=str), result, error)
        with self._explained(), self._database:
            self._database.execute(
                "INSERT INTO entries (kind, key, about, result, error) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET about = excluded.about, "
                "result = excluded.result, error = excluded.error, at = excluded.at",
                row,
            )

    def _entries(self, where: str, *values: str) -> Iterator[Entry]:
        query = f"SELECT kind, key, about, result, error, at FROM entries {where}"  # noqa: S608
        with self._explained():
            for kind, key, about, result, error, at in self._database.execute(query, values):
                yield Entry(
                    kind,
                    key,
                    json.loads(about),
                    None if result is None else json.loads(result),
                    error,
                    at,
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite says into one line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DdkitError(f"cannot use {self.path}: {error}; try again later") from error
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise DdkitError(
                f"{self.path} is damaged ({error}): move it away and start the bench again; "
                "finished sets under runs/ are found, only evaluations are made again"
            ) from error
