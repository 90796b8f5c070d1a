import asyncio
import threading

import pytest

from hoop_mcp.adapters.journal_file import connect_writer, describe_library, journal_mode, sqlite
from hoop_mcp.adapters.journal_reader import JournalReader
from hoop_mcp.adapters.sqlite_journal import SqliteJournal
from hoop_mcp.errors import JournalUnavailable, NotCanonical
from hoop_mcp.terms import Event, EventKind

pytestmark = pytest.mark.anyio

MODES = ("wal", "truncate")


def plain(n=0, **clear):
    return Event(EventKind.INTENT, {"tool": "query", "n": n, **clear})


def numbers(path):
    """The ``n`` of each intent, in the order of the chain."""
    with JournalReader.open(path) as reader:
        return [entry.body["n"] for entry in reader.tail(100_000) if entry.kind == "intent"]


class Hooked:
    """A connection that lets a test stand beside COMMIT."""

    def __init__(self, connection, at_commit):
        self._connection = connection
        self._at_commit = at_commit

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *rest):
        if statement == "COMMIT":
            return self._at_commit(lambda: self._connection.execute("COMMIT"))
        return self._connection.execute(statement, *rest)


def hooked(at_commit):
    return lambda path, mode: Hooked(connect_writer(path, mode), at_commit)


async def test_a_receipt_is_the_place_the_leaf_and_the_size(shelf, events):
    journal = shelf.open()
    try:
        receipt = await journal.record(events(1)[0])
        with JournalReader.open(shelf.path) as reader:
            entry = reader.entry(receipt.seq)
        assert (receipt.leaf, receipt.size) == (entry.leaf, receipt.seq + 1)
        assert entry.body["template"] == "SELECT name FROM customers WHERE id = $1"
    finally:
        journal.close()


@pytest.mark.parametrize("mode", MODES)
async def test_sixty_four_writers_each_get_their_own_place_in_one_chain(shelf, events, mode):
    journal = shelf.open(mode=mode)

    async def write(n):
        return [await journal.record(event) for _ in range(5) for event in events(n)]

    try:
        receipts = [one for some in await asyncio.gather(*map(write, range(64))) for one in some]
    finally:
        journal.close()
    assert len({receipt.seq for receipt in receipts}) == 640
    verdict = shelf.verdict()
    assert verdict.ok, verdict
    with JournalReader.open(shelf.path) as reader:
        leaves = {entry.seq: entry.leaf for entry in reader.tail(1000)}
    assert all(leaves[receipt.seq] == receipt.leaf for receipt in receipts)


async def test_waiting_records_share_one_commit(shelf):
    commits = []

    def count(commit):
        commits.append(1)
        return commit()

    journal = shelf.open(connect=hooked(count))
    try:
        before = len(commits)
        await asyncio.gather(*(journal.record(plain(n)) for n in range(100)))
    finally:
        journal.close()
    assert len(commits) - before < 50


async def test_records_from_two_loops_find_their_way_back(shelf):
    journal = shelf.open()
    got = []
    other = threading.Thread(target=lambda: got.append(asyncio.run(journal.record(plain(2)))))
    try:
        other.start()
        mine = await journal.record(plain(1))
        await asyncio.to_thread(other.join)
    finally:
        journal.close()
    assert {mine.seq, got[0].seq} == {1, 2}


async def test_a_cancelled_wait_loses_no_entry_and_breaks_no_other(shelf):
    let_go = threading.Event()
    let_go.set()

    def wait(commit):
        let_go.wait(5)
        return commit()

    journal = shelf.open(connect=hooked(wait))
    try:
        let_go.clear()
        tasks = [asyncio.create_task(journal.record(plain(n))) for n in range(6)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0)
        let_go.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        let_go.set()
        journal.close()
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [True, False] * 3
    assert numbers(shelf.path) == list(range(6))


async def test_an_event_without_canonical_bytes_fails_alone(shelf):
    journal = shelf.open()
    try:
        wrong = Event(EventKind.INTENT, {"n": 1.5})
        shouting = Event(EventKind.INTENT, {"n": 3}, sealed={"SQL": b"x"})
        done = await asyncio.gather(
            *(journal.record(event) for event in (plain(0), wrong, shouting, plain(2))), return_exceptions=True
        )
    finally:
        journal.close()
    assert [type(one).__name__ for one in done] == ["Receipt", "NotCanonical", "NotCanonical", "Receipt"]
    assert isinstance(done[1], NotCanonical)
    assert numbers(shelf.path) == [0, 2]
    assert shelf.verdict().ok


async def test_closing_writes_what_waits_and_then_refuses(shelf):
    journal = shelf.open()
    waiting = [asyncio.create_task(journal.record(plain(n))) for n in range(20)]
    await asyncio.sleep(0)
    journal.close()
    journal.close()
    assert len(await asyncio.gather(*waiting)) == 20
    assert not journal.available
    with pytest.raises(JournalUnavailable, match="closed"):
        await journal.record(plain())
    assert numbers(shelf.path) == list(range(20))


async def test_a_second_writer_is_refused_until_the_first_is_gone(shelf, monkeypatch):
    monkeypatch.setattr("hoop_mcp.adapters.sqlite_journal._LOCK_SECONDS", 0)
    journal = shelf.open()
    try:
        with pytest.raises(JournalUnavailable, match="one journal has one writer"):
            shelf.open()
        await journal.record(plain(1))
    finally:
        journal.close()
    shelf.open().close()
    assert shelf.verdict().kinds["boot"] == 2


async def test_each_start_goes_on_with_the_same_chain(shelf):
    for n in range(3):
        journal = shelf.open()
        await journal.record(plain(n))
        journal.close()
    assert numbers(shelf.path) == [0, 1, 2]
    verdict = shelf.verdict()
    assert verdict.ok
    assert verdict.kinds == {"boot": 3, "intent": 3}


@pytest.mark.parametrize("statement", [
    "UPDATE entry SET kind = 'x'", "DELETE FROM entry", "UPDATE sealed SET kid = 'x'", "DELETE FROM sealed",
    "REPLACE INTO entry SELECT * FROM entry WHERE seq = 1", "INSERT OR REPLACE INTO sealed SELECT * FROM sealed",
])  # fmt: skip
def test_the_tables_refuse_everything_but_appending(copied, statement):
    connection = connect_writer(copied.path, "wal")
    with pytest.raises(sqlite.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert copied.verdict().ok


@pytest.mark.parametrize(("statement", "why"), [
    ("UPDATE entry SET ts = 1 WHERE seq = 43", "entry 43"),
    ("DELETE FROM entry WHERE seq = 42", "entry 42"),
    ("DELETE FROM sealed WHERE seq = 43", "LOST"),
    ("DELETE FROM entry WHERE seq = 0", "does not verify"),
    ("UPDATE entry SET body = x'7b7d' WHERE seq = 43", "run journal verify"),
])  # fmt: skip
def test_a_journal_whose_end_does_not_verify_is_not_written_on(copied, statement, why):
    copied.tamper(statement)
    with JournalReader.open(copied.path) as reader:
        before = list(reader.rows())
    with pytest.raises(JournalUnavailable, match=why):
        copied.open()
    with JournalReader.open(copied.path) as reader:
        assert list(reader.rows()) == before


async def test_a_commit_that_fails_fails_its_batch_and_the_next_record_goes_on(shelf):
    faults = []

    def fail_once(commit):
        if faults and faults.pop():
            raise sqlite.OperationalError("disk I/O error")
        return commit()

    journal = shelf.open(connect=hooked(fail_once))
    try:
        await journal.record(plain(1))
        faults.append(True)
        with pytest.raises(JournalUnavailable, match="disk I/O error"):
            await journal.record(plain(2))
        assert not journal.available
        receipt = await journal.record(plain(3))
        assert journal.available
    finally:
        journal.close()
    assert numbers(shelf.path) == [1, 3]
    with JournalReader.open(shelf.path) as reader:
        alarm = reader.entry(receipt.seq - 1).body
    assert (alarm["alarm"], alarm["failed"], alarm["stored_unacknowledged"]) == ("journal.reopened", 1, 0)
    assert shelf.verdict().ok


async def test_a_commit_that_raises_after_storing_is_told_as_stored_and_unpromised(shelf):
    faults = []

    def fail_late(commit):
        result = commit()
        if faults and faults.pop():
            raise sqlite.OperationalError("disk I/O error")
        return result

    journal = shelf.open(connect=hooked(fail_late))
    try:
        faults.append(True)
        with pytest.raises(JournalUnavailable):
            await journal.record(plain(2))
        receipt = await journal.record(plain(3))
    finally:
        journal.close()
    assert numbers(shelf.path) == [2, 3]
    with JournalReader.open(shelf.path) as reader:
        assert reader.entry(receipt.seq - 1).body["stored_unacknowledged"] == 1
    assert shelf.verdict().ok


async def test_a_journal_that_cannot_be_written_refuses_every_record(shelf):
    broken = []

    def fail(commit):
        if broken:
            raise sqlite.OperationalError("database or disk is full")
        return commit()

    journal = shelf.open(connect=hooked(fail))
    try:
        broken.append(True)
        for _ in range(3):
            done = await asyncio.gather(*(journal.record(plain(n)) for n in range(4)), return_exceptions=True)
            assert all(isinstance(one, JournalUnavailable) for one in done)
            assert not journal.available
        broken.clear()
        await journal.record(plain(9))
    finally:
        journal.close()
    assert numbers(shelf.path) == [9]


@pytest.mark.parametrize("mode", MODES)
async def test_a_file_put_in_the_journals_place_is_never_written_on(shelf, filled, mode):
    journal = shelf.open(mode=mode)
    await journal.record(plain(1))
    shelf.path.rename(shelf.folder / "aside.db")
    shelf.path.write_bytes(filled.path.read_bytes())
    try:
        for n in (2, 3):
            with pytest.raises(JournalUnavailable, match=r"another file|readonly"):
                await journal.record(plain(n))
    finally:
        journal.close()
    assert shelf.path.read_bytes() == filled.path.read_bytes()


async def test_an_older_copy_written_over_the_journal_is_never_written_on(shelf):
    """A backup that lacks acknowledged entries is a valid chain; only the writer's memory knows better."""
    journal = shelf.open(mode="truncate")
    await journal.record(plain(1))
    backup = shelf.path.read_bytes()
    await journal.record(plain(2))
    shelf.path.write_bytes(backup)
    try:
        for n in (3, 4):
            with pytest.raises(JournalUnavailable, match=r"acknowledged|does not verify"):
                await journal.record(plain(n))
    finally:
        journal.close()
    assert numbers(shelf.path) == [1]


async def test_a_deleted_log_is_noticed_and_no_acknowledged_entry_is_lost(shelf):
    journal = shelf.open(mode="wal") if journal_mode() == "wal" else pytest.skip("no log in safe mode")
    try:
        await journal.record(plain(1))
        (shelf.folder / "journal.db-wal").unlink()
        with pytest.raises(JournalUnavailable, match="another file"):
            await journal.record(plain(2))
        await journal.record(plain(3))
    finally:
        journal.close()
    assert numbers(shelf.path)[-1] == 3
    assert 1 in numbers(shelf.path)
    assert shelf.verdict().ok


async def test_a_reader_that_keeps_the_log_from_settling_keeps_the_journal_shut_after_an_error(shelf):
    faults = []

    def fail_late(commit):
        result = commit()
        if faults and faults.pop():
            raise sqlite.OperationalError("disk I/O error")
        return result

    def connect(path, mode):
        connection = connect_writer(path, mode)
        connection.execute("PRAGMA busy_timeout=30")
        return Hooked(connection, fail_late)

    if journal_mode() != "wal":
        pytest.skip("no log in safe mode")
    journal = shelf.open(connect=connect)
    try:
        await journal.record(plain(1))
        reader = sqlite.connect(f"{shelf.path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entry").fetchall()
        faults.append(True)
        for n in (2, 3):
            with pytest.raises(JournalUnavailable):
                await journal.record(plain(n))
        reader.execute("COMMIT")
        reader.close()
        await journal.record(plain(4))
    finally:
        journal.close()
    assert numbers(shelf.path) == [1, 2, 4]


async def test_a_wall_clock_that_goes_back_is_written_down_and_refuses_nothing(shelf):
    times = iter([5_000_000_000_000_000, 5_000_000_000_000_001, 4_000_000_000_000_000, 4_000_000_000_000_001])
    journal = shelf.open(clock=lambda: next(times))
    try:
        for n in range(3):
            await journal.record(plain(n))
    finally:
        journal.close()
    with JournalReader.open(shelf.path) as reader:
        kinds = [entry.kind for entry in reader.tail(10)]
        assert kinds == ["boot", "intent", "alarm", "intent", "intent"]
        assert reader.entry(2).body["back_us"] == 1_000_000_000_000_001
    assert shelf.verdict().ok


def test_an_sqlite_with_the_wal_reset_bug_gets_the_safe_mode():
    for version, mode in (((3, 40, 1), "truncate"), ((3, 51, 2), "truncate"), ((3, 51, 3), "wal"), ((3, 54, 0), "wal")):
        assert journal_mode(version) == mode
    assert "safe mode" in describe_library("truncate")
    assert "safe mode" not in describe_library("wal")


async def test_safe_mode_leaves_no_log_and_commits_through_a_reader(shelf, events):
    journal = shelf.open(mode="truncate")
    assert "safe mode" in journal.sqlite_mode
    try:
        for n in range(3):
            await journal.record(events(n)[0])
        with JournalReader.open(shelf.path) as reader:
            rows = reader.rows()
            next(rows)
            await journal.record(events(4)[0])
            assert sum(1 for _ in rows) > 3
        assert not (shelf.folder / "journal.db-wal").exists()
    finally:
        journal.close()
    assert shelf.verdict().ok


def test_a_journal_changes_its_mode_between_starts(shelf):
    for mode in ("wal", "truncate", "wal"):
        shelf.fill(1, mode=mode)
    assert shelf.verdict().ok


@pytest.mark.parametrize("mode", MODES)
def test_every_commit_is_synced_and_nothing_is_mapped(shelf, mode):
    """A killed process loses nothing that the kernel has; only this setting keeps a power cut from losing more."""
    connection = connect_writer(shelf.path, mode)
    for pragma, value in (("synchronous", 2), ("journal_mode", mode), ("mmap_size", 0), ("recursive_triggers", 1)):
        assert connection.execute(f"PRAGMA {pragma}").fetchone()[0] == value
    connection.close()


def test_another_programs_database_is_left_as_it_is(shelf):
    connection = sqlite.connect(str(shelf.path))
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = shelf.path.read_bytes()
    with pytest.raises(JournalUnavailable, match="not a hoop-mcp journal"):
        shelf.open()
    assert shelf.path.read_bytes() == before


def test_what_cannot_be_opened_is_said_and_lets_go_of_the_lock(shelf, tmp_path):
    with pytest.raises(JournalUnavailable, match="does not exist"):
        SqliteJournal.open(tmp_path / "none" / "journal.db", shelf.keys)
    shelf.path.write_bytes(b"not a database, and longer than nothing " * 100)
    with pytest.raises(JournalUnavailable, match="cannot be opened for writing"):
        shelf.open()
    shelf.path.unlink()
    shelf.open().close()
