"""Answers that were given before, kept in one SQLite file: whole after a kill, shared by threads and processes."""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

LOGGER = logging.getLogger("timesight")
WAIT_S = 30.0  # for another process that is writing


class AnswerCache:
    """Texts by key. A file that cannot be used costs its answers, with a warning, and never the run."""

    def __init__(self, file: Path | None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._known: dict[str, str] = {}  # what this process has seen
        self._database: sqlite3.Connection | None = None
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(
                    file, timeout=WAIT_S, check_same_thread=False, isolation_level=None
                )
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL)"
                )
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)

    def get(self, key: str) -> str | None:
        """The text kept under ``key``."""
        with self._lock:
            if key not in self._known and self._database is not None:
                try:
                    row = self._database.execute("SELECT text FROM answers WHERE key = ?", (key,)).fetchone()
                    self._known |= {key: row[0]} if row else {}
                except sqlite3.Error as error:
                    self._give_up(error)
            return self._known.get(key)

    def put(self, key: str, text: str) -> None:
        """Keep ``text``; when this returns it is on disk."""
        with self._lock:
            self._known[key] = text
            if self._database is not None:
                try:
                    self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))
                except sqlite3.Error as error:
                    self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        LOGGER.warning("%s: judge's answers cannot be kept there (%s); going on without", self._file, error)
        self._database = None
