import base64
import stat
from datetime import UTC, datetime

import pytest

from hoop_mcp.adapters.journal_keys import KeyFolder, iso_week
from hoop_mcp.adapters.journal_reader import JournalReader
from hoop_mcp.errors import JournalUnavailable, SealBroken
from hoop_mcp.terms import Event, EventKind

pytestmark = pytest.mark.anyio


def test_the_first_start_makes_keys_that_only_this_account_may_read(shelf, events):
    shelf.fill(1)
    assert stat.S_IMODE(shelf.keys.stat().st_mode) == 0o700
    files = list(shelf.keys.iterdir())
    assert {path.name.split(".")[0] for path in files} == {"journal", "sql", "identity", "answer"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in [*files, shelf.path])


def test_what_was_sealed_opens_with_the_keys_and_not_with_others(shelf, tmp_path_factory):
    shelf.fill(2)
    with JournalReader.open(shelf.path) as reader:
        seq = next(entry.seq for entry in reader.tail(100) if entry.parts.keys() == {"sql", "identity"})
        assert reader.open_part(seq, "identity", shelf.keys) == b'{"sub":"ana"}'
        with pytest.raises(JournalUnavailable, match="no sealed part answer"):
            reader.open_part(seq, "answer", shelf.keys)
        others = tmp_path_factory.mktemp("others") / "keys"
        KeyFolder.make(others)
        with pytest.raises(JournalUnavailable, match="is not in"):
            reader.open_part(seq, "identity", others)
        for path in shelf.keys.glob("identity.*"):
            (others / path.name).write_bytes(path.read_bytes())
        with pytest.raises(JournalUnavailable, match="does not open"):
            reader.open_part(seq, "identity", others)


def test_an_altered_sealed_part_does_not_open(copied):
    copied.tamper("UPDATE sealed SET ct = zeroblob(length(ct)) WHERE part = 'identity'")
    with JournalReader.open(copied.path) as reader:
        seq = next(entry.seq for entry in reader.tail(100) if "identity" in entry.parts)
        with pytest.raises(SealBroken):
            reader.open_part(seq, "identity", copied.keys)


async def test_each_week_and_class_of_part_has_its_own_key_announced_before_its_use(shelf, events):
    week = 7 * 24 * 3600 * 1_000_000
    now = [int(datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000]
    journal = shelf.open(clock=lambda: now[0])
    try:
        for step in (0, 1_000_000, week):
            now[0] += step
            for event in events(1):
                await journal.record(event)
    finally:
        journal.close()
    with JournalReader.open(shelf.path) as reader:
        entries = reader.tail(100)
    announced = {entry.body["key"]: entry.seq for entry in entries if entry.kind == "key.add"}
    weeks = {f"{part}.{w}" for part in ("sql", "identity", "answer") for w in ("2026-W47", "2026-W48", "2026-W49")}
    assert {kid.rpartition(".")[0] for kid in announced} == weeks
    assert all(announced[part.kid] < entry.seq for entry in entries for part in entry.parts.values())


def test_the_week_is_the_iso_week_of_the_moment_in_utc():
    for text, week in (("2027-01-03", "2026-W53"), ("2027-01-04", "2027-W01"), ("2024-12-30", "2025-W01")):
        assert iso_week(int(datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp()) * 1_000_000) == week


def test_a_restart_in_the_same_week_goes_on_with_the_same_keys(shelf):
    shelf.fill(1)
    before = {path.name for path in shelf.keys.iterdir()}
    shelf.fill(1)
    assert {path.name for path in shelf.keys.iterdir()} == before


def test_a_journal_with_entries_and_no_key_file_does_not_start_and_makes_none(copied):
    (copied.keys / "journal.key").unlink()
    with pytest.raises(JournalUnavailable, match="bring the keys back"):
        copied.open()
    assert not (copied.keys / "journal.key").exists()


async def test_another_key_file_in_its_place_fails_the_first_sealed_record(copied, events):
    key = copied.keys / "journal.key"
    key.write_text("00" * 32)
    journal = copied.open()
    try:
        with pytest.raises(JournalUnavailable, match="does not open"):
            await journal.record(events(1)[0])
    finally:
        journal.close()


@pytest.mark.parametrize("name", [".", "journal.key"])
def test_keys_open_to_other_accounts_are_refused_with_the_mend(copied, name):
    path = copied.keys / name
    path.chmod(0o755 if path.is_dir() else 0o640)
    with pytest.raises(JournalUnavailable, match="chmod go-rwx"):
        copied.open()


async def test_no_sealed_text_is_in_any_file_in_any_common_form(shelf):
    secret = b"canary-Zx81 ana@x.example 4111111111111111"

    def forms(text):
        yield from (text, text.hex().encode(), text.hex().upper().encode(), text.decode().encode("utf-16-le"))
        for shift in range(3):
            yield base64.b64encode(b"\0" * shift + text)[4:-4]

    def found():
        stored = {path: path.read_bytes() for path in shelf.folder.rglob("*") if path.is_file()}
        assert {path.name for path in stored} >= {"journal.db", "journal.lock", "journal.key"}
        return [path.name for path, content in stored.items() if any(form in content for form in forms(secret))]

    journal = shelf.open()
    try:
        for part in ("sql", "identity", "answer"):
            await journal.record(Event(EventKind.OUTCOME, {"n": 1}, sealed={part: secret * 50}))
        assert found() == []
        await journal.record(Event(EventKind.OUTCOME, {"planted": base64.b64encode(secret).decode()}))
        assert found() != [], "the search would not see it"
    finally:
        journal.close()
