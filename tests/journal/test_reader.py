import shutil
from pathlib import Path

import pytest

from hoop_mcp.adapters import journal_reader
from hoop_mcp.adapters.journal_reader import JournalReader
from hoop_mcp.errors import JournalUnavailable, NotCanonical
from hoop_mcp.journal.verify import EntryRow, verify
from hoop_mcp.terms import Event, EventKind

pytestmark = pytest.mark.anyio


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def verdict(path):
    with JournalReader.open(path) as reader:
        return verify(reader.rows(), damage=reader.damage())


@pytest.mark.parametrize("mode", ["wal", "truncate"])
async def test_a_running_journal_is_read_with_every_acknowledged_entry(shelf, events, mode):
    journal = shelf.open(mode=mode)
    try:
        for n in range(3):
            receipt = await journal.record(events(n)[1])
            found = shelf.verdict()
            assert found.ok, found
            assert (found.size, found.head) == (receipt.size, receipt.leaf)
    finally:
        journal.close()


async def test_reading_goes_on_while_the_writer_writes_and_shows_the_end_it_began_with(shelf, events):
    journal = shelf.open()
    try:
        for n in range(100):
            await journal.record(events(n)[0])
        with JournalReader.open(shelf.path) as reader:
            rows = reader.rows()
            first = next(rows)
            for n in range(100):
                await journal.record(events(n)[0])
            found = verify([first, *rows])
        assert found.ok, found
        assert found.size < shelf.verdict().size
    finally:
        journal.close()


async def test_copies_of_a_running_journal_are_whole_with_the_log_and_older_without(shelf, events, tmp_path_factory):
    both, alone = tmp_path_factory.mktemp("both"), tmp_path_factory.mktemp("alone")
    journal = shelf.open()
    try:
        for n in range(10):
            receipt = await journal.record(events(n)[0])
        for file in shelf.folder.glob("journal.db*"):
            shutil.copyfile(file, both / file.name)
        shutil.copyfile(shelf.path, alone / "journal.db")
        before = names(both)
        (both / "journal.db-shm").unlink(missing_ok=True)
        before.remove("journal.db-shm") if "journal.db-shm" in before else None
        whole, older = verdict(both / "journal.db"), verdict(alone / "journal.db")
        assert whole.ok
        assert older.ok
        assert (whole.size, whole.head) == (receipt.size, receipt.leaf)
        assert 1 <= older.size <= whole.size
        assert (names(both), names(alone)) == (before, ["journal.db"])
    finally:
        journal.close()


def test_reading_a_closed_journal_leaves_nothing_beside_it(filled):
    before = names(filled.folder)
    assert filled.verdict().ok
    assert names(filled.folder) == before


def test_the_copy_of_a_journal_with_a_log_is_removed(filled, tmp_path, monkeypatch):
    import tempfile

    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    shutil.copyfile(filled.path, tmp_path / "journal.db")
    (tmp_path / "journal.db-wal").write_bytes(b"\0" * 100)
    with JournalReader.open(tmp_path / "journal.db") as reader:
        assert len(names(copies)) == 1
        assert reader.tail(1)
    assert names(copies) == []


def test_a_journal_that_changes_under_a_reader_is_not_half_believed(filled, tmp_path):
    path = tmp_path / "journal.db"
    shutil.copyfile(filled.path, path)
    with JournalReader.open(path) as reader:
        rows = reader.rows()
        next(rows)
        path.write_bytes(path.read_bytes())
        with pytest.raises(JournalUnavailable, match="read it again"):
            list(rows)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "no journal"), (b"", "not a hoop-mcp journal"), (b"nothing of the kind" * 300, "cannot be read")],
)
def test_what_is_no_journal_is_said_and_not_made_one(tmp_path, content, why):
    path = tmp_path / "journal.db"
    if content is not None:
        path.write_bytes(content)
    before = names(tmp_path)
    with pytest.raises(JournalUnavailable, match=why):
        JournalReader.open(path)
    assert names(tmp_path) == before


def test_a_later_format_is_refused_by_its_number(copied):
    from hoop_mcp.adapters.journal_file import sqlite

    connection = sqlite.connect(str(copied.path))
    connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(JournalUnavailable, match="format 9"):
        JournalReader.open(copied.path)


def test_rows_come_in_pages_with_each_entry_before_its_parts(filled, monkeypatch):
    whole = list(_rows(filled.path))
    for page in (1, 2, 7):
        monkeypatch.setattr(journal_reader, "PAGE", page)
        assert list(_rows(filled.path)) == whole
    entries = [row.seq for row in whole if isinstance(row, EntryRow)]
    assert entries == list(range(44))


def _rows(path):
    with JournalReader.open(path) as reader:
        yield from reader.rows()


def test_the_tail_is_the_last_entries_oldest_first_of_the_kinds_asked_for(filled):
    with JournalReader.open(filled.path) as reader:
        assert [entry.seq for entry in reader.tail(3)] == [41, 42, 43]
        assert [entry.kind for entry in reader.tail(5, ("boot", "key.add"))] == ["boot"] + ["key.add"] * 3
        assert reader.tail(3, ("'; DROP TABLE entry",)) == ()


def test_an_entry_is_found_by_its_place_or_is_none(filled):
    with JournalReader.open(filled.path) as reader:
        assert reader.entry(0).kind == "boot"
        assert reader.entry(44) is None


def test_an_entry_that_is_none_any_more_is_not_shown(copied):
    copied.tamper("UPDATE entry SET body = CAST('{\"a\":1.0}' AS BLOB) WHERE seq = 43")
    with JournalReader.open(copied.path) as reader, pytest.raises(NotCanonical):
        reader.entry(43)


async def test_a_name_with_marks_of_a_uri_is_a_name(tmp_path):
    from hoop_mcp.adapters.sqlite_journal import SqliteJournal

    path = Path(tmp_path) / "a?mode=rw&b#c%41.db"
    journal = SqliteJournal.open(path, tmp_path / "keys")
    await journal.record(Event(EventKind.INTENT, {"n": 1}))
    assert verdict(path).size == 2
    journal.close()
    assert verdict(path).ok
