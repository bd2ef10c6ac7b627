"""Cache of a judge's replies in one SQLite file: intact after a kill, shared by threads and processes."""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

LOGGER = logging.getLogger("timesight")
WAIT_S = 30.0  # for another process that is writing


class AnswerCache:
    """A cache of texts by key.

    If the file cannot be used, a warning is logged and the cache stays in memory only; no error is raised.

    Args:
        file: SQLite file, made with its folder if missing. None caches in memory only.
    """

    def __init__(self, file: Path | None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._known: dict[str, str] = {}  # read or written by this process
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
        """The text stored under ``key``; None if there is none."""
        with self._lock:
            if key not in self._known and self._database is not None:
                try:
                    row = self._database.execute("SELECT text FROM answers WHERE key = ?", (key,)).fetchone()
                    self._known |= {key: row[0]} if row else {}
                except sqlite3.Error as error:
                    self._give_up(error)
            return self._known.get(key)

    def put(self, key: str, text: str) -> None:
        """Store ``text`` under ``key``, replacing an earlier one; it is in the file when this returns."""
        with self._lock:
            self._known[key] = text
            if self._database is not None:
                try:
                    self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))
                except sqlite3.Error as error:
                    self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        LOGGER.warning("%s: judge's answers cannot be kept there (%s); continuing without", self._file, error)
        self._database = None
