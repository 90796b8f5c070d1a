import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from hoop_mcp.adapters.journal_file import TRIGGERS, sqlite
from hoop_mcp.adapters.journal_reader import JournalReader
from hoop_mcp.adapters.sqlite_journal import SqliteJournal
from hoop_mcp.journal.verify import verify
from hoop_mcp.terms import Event, EventKind

START = 1_795_500_000_000_000


@dataclass
class Shelf:
    """A folder with a journal and its keys, and what tests do with it."""

    folder: Path

    @property
    def path(self):
        return self.folder / "journal.db"

    @property
    def keys(self):
        return self.folder / "keys"

    def open(self, **options):
        return SqliteJournal.open(self.path, self.keys, **options)

    def verdict(self, path=None):
        with JournalReader.open(path or self.path) as reader:
            return verify(reader.rows(), damage=reader.damage())

    def fill(self, calls, **options):
        """A closed journal of so many calls, each an intent and an outcome with sealed parts."""
        journal = self.open(**options)

        async def run():
            for n in range(calls):
                for event in call_events(n):
                    await journal.record(event)

        try:
            asyncio.run(run())
        finally:
            journal.close()
        return self

    def tamper(self, *statements, path=None):
        """What somebody does who may write the file: off with the triggers, and on again so that nothing else shows."""
        connection = sqlite.connect(str(path or self.path), isolation_level=None)
        connection.execute("PRAGMA journal_mode=DELETE")
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, f"nothing tampered: {statement}"
        for trigger in TRIGGERS.values():
            connection.execute(trigger)
        connection.close()


def call_events(n):
    call, session = f"call-{n}", "session-1"
    intent = {"tool": "query", "database": "shop", "template": f"SELECT name FROM customers WHERE id = ${n}"}
    outcome = {"tool": "query", "decision": "allow", "rules": ["read-the-ticket"], "result": {"rows": n}}
    return (
        Event(EventKind.INTENT, intent, call, session, {"sql": b"SELECT %d" % n, "identity": b'{"sub":"ana"}'}),
        Event(EventKind.OUTCOME, outcome, call, session, {"answer": b"x" * (40 + n)}),
    )


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


@pytest.fixture(scope="session")
def events():
    """``events(n)``: the intent and the outcome of call n."""
    return call_events


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A closed journal of 20 calls that no test changes."""
    return Shelf(tmp_path_factory.mktemp("filled")).fill(20)


@pytest.fixture
def copied(filled, tmp_path):
    """The filled journal's file and keys in a folder of the test's own."""
    import shutil

    shutil.copyfile(filled.path, tmp_path / "journal.db")
    shutil.copytree(filled.keys, tmp_path / "keys")
    return Shelf(tmp_path)
