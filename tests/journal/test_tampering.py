"""What somebody who may write the file can do without rewriting all that follows, and what verification says."""

import json
import random
import shutil

import pytest

from hoop_mcp.adapters.journal_file import sqlite
from hoop_mcp.adapters.journal_reader import JournalReader
from hoop_mcp.errors import HoopError
from hoop_mcp.journal.entry import GENESIS, canonical, leaf_hash
from hoop_mcp.journal.verify import EntryRow, verify


def sealed_entry(shelf):
    """The place of an entry with two sealed parts."""
    with JournalReader.open(shelf.path) as reader:
        return next(row.seq for row in reader.rows() if isinstance(row, EntryRow) and b'"identity":{' in row.body)


def test_an_untouched_journal_is_intact_and_unanchored(filled):
    verdict = filled.verdict()
    assert verdict.ok, verdict
    assert verdict.standing == "unanchored"
    assert verdict.kinds == {"boot": 1, "intent": 20, "key.add": 3, "outcome": 20}
    assert (verdict.size, verdict.sealed, verdict.lost, verdict.orphans) == (44, 60, 0, 0)


def test_tampering_and_mending_the_triggers_alone_is_no_fault(copied):
    """The attacks below are then found for what they do to the rows."""
    copied.tamper()
    assert copied.verdict().ok


TEXT = "CAST(body AS TEXT)"
COPY = "kid, n, ct FROM sealed WHERE id = 10 * 64"
ATTACKS = {
    "edit a body": (
        [f"UPDATE entry SET body = CAST(replace({TEXT}, 'allow', 'alloy') AS BLOB) WHERE decision = 'allow'"],
        "does not hash",
    ),
    "delete an entry in the middle": (
        ["DELETE FROM entry WHERE seq = 20", "DELETE FROM sealed WHERE seq = 20"],
        "entries 20 to 20 are missing",
    ),
    "delete the first entry": (["DELETE FROM entry WHERE seq = 0"], "entries 0 to 0 are missing"),
    "delete every entry": (["DELETE FROM entry", "DELETE FROM sealed"], "no entry"),
    "swap two entries": (
        [f"UPDATE entry SET seq = {to} WHERE seq = {seq}" for seq, to in ((5, -9), (6, 5), (-9, 6))],
        "the body belongs at place 6",
    ),
    "put an entry before the first": (["UPDATE entry SET seq = -1 WHERE seq = 43"], "stands out of order"),
    "alter a sealed text": (["UPDATE sealed SET ct = zeroblob(length(ct)) WHERE seq = 10"], "altered"),
    "alter a nonce": (["UPDATE sealed SET n = zeroblob(24) WHERE seq = 10"], "altered"),
    "delete a sealed row": (["DELETE FROM sealed WHERE seq = 10"], "LOST"),
    "delete all sealed rows": (["DELETE FROM sealed"], "LOST"),
    "store a sealed row under another key": (["UPDATE sealed SET kid = 'other' WHERE seq = 10"], "another key"),
    "rename a sealed row": (["UPDATE sealed SET part = 'other' WHERE seq = 10"], "no entry names"),
    "move a sealed row by its seq": (["UPDATE sealed SET seq = 500 WHERE seq = 10"], "no entry names"),
    "move a sealed row by its id": (["UPDATE sealed SET id = id + 1000000 WHERE seq = 10"], "LOST"),
    "add a sealed row": ([f"INSERT INTO sealed SELECT id + 40, seq, 'more', {COPY}"], "no entry names"),
    "add one after the end": ([f"INSERT INTO sealed SELECT 64 * 900, 900, part, {COPY}"], "no entry names"),
    "edit ts": (["UPDATE entry SET ts = ts + 1 WHERE seq = 10"], "column ts"),
    "edit kind": (["UPDATE entry SET kind = 'refusal' WHERE seq = 10"], "column kind"),
    "edit session": (["UPDATE entry SET session = 'other' WHERE seq = 10"], "column session"),
    "edit call": (["UPDATE entry SET call = NULL WHERE seq = 10"], "column call"),
    "edit decision": (["UPDATE entry SET decision = 'deny' WHERE decision = 'allow'"], "column decision"),
    "edit the leaf": (["UPDATE entry SET leaf = zeroblob(32) WHERE seq = 10"], "does not hash"),
    "a body that is no JSON": (["UPDATE entry SET body = x'00' WHERE seq = 10"], "does not hash"),
    "an uncovered table": (["CREATE TABLE notes (t TEXT)"], "'notes' that verification does not cover"),
    "a trigger fewer": (["DROP TRIGGER entry_refuses_update"], "is missing"),
    "a column more": (["ALTER TABLE entry ADD COLUMN note TEXT"], "columns of this format"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_found_and_named(copied, attack):
    statements, why = ATTACKS[attack]
    if attack in {"a trigger fewer", "an uncovered table", "a column more"}:
        connection = sqlite.connect(str(copied.path), isolation_level=None)
        connection.execute(statements[0])
        connection.close()
    else:
        copied.tamper(*statements)
    verdict = copied.verdict()
    assert not verdict.ok
    assert why in verdict.why, verdict


def test_the_first_bad_entry_is_named(copied):
    copied.tamper("UPDATE entry SET ts = 1 WHERE seq IN (12, 30)")
    verdict = copied.verdict()
    assert (verdict.bad_seq, verdict.faults) == (12, 2)


def test_swapped_parts_of_one_entry_are_found(copied):
    seq = sealed_entry(copied)
    copied.tamper(
        f"UPDATE sealed SET part = 'swap' WHERE seq = {seq} AND part = 'sql'",
        f"UPDATE sealed SET part = 'sql' WHERE seq = {seq} AND part = 'identity'",
        f"UPDATE sealed SET part = 'identity' WHERE seq = {seq} AND part = 'swap'",
    )
    assert copied.verdict().bad_seq == seq


def test_recomputing_one_leaf_breaks_the_link_of_the_next_entry(copied):
    """An editor who knows the format mends body and leaf, and is found one entry later."""
    with JournalReader.open(copied.path) as reader:
        body = dict(reader.entry(43 - 1).body)
    forged = canonical({**body, "tool": "other"})
    copied.tamper(f"UPDATE entry SET body = x'{forged.hex()}', leaf = x'{leaf_hash(forged).hex()}' WHERE seq = 42")
    verdict = copied.verdict()
    assert (verdict.bad_seq, verdict.why) == (43, "prev is not the leaf of the entry before")


def test_cutting_the_end_off_passes_which_is_why_the_verdict_says_unanchored(copied):
    before = copied.verdict()
    copied.tamper("DELETE FROM entry WHERE seq >= 40", "DELETE FROM sealed WHERE seq >= 40")
    after = copied.verdict()
    assert after.ok
    assert after.standing == "unanchored"
    assert (after.size, after.head) != (before.size, before.head)


def chain(*bodies):
    """Rows of a chain whose every hash is right, whatever the bodies say."""
    prev, rows = GENESIS, []
    for seq, clear in enumerate(bodies):
        said = {"v": 1, "seq": seq, "prev": prev, "ts": 5, "mono": 5, "boot": "b", "kind": "intent"} | clear
        body = canonical(said)
        prev = leaf_hash(body).hex()
        columns = [said.get(key) for key in ("ts", "kind", "session", "call", "decision")]
        rows.append(EntryRow(seq, *columns, body, bytes.fromhex(prev)))
    return rows


BOOT = {"kind": "boot", "origin": "hoop-mcp/aa"}


def test_a_chain_begins_with_a_start_that_names_its_origin():
    assert verify(chain(BOOT, {})).ok
    assert not verify(chain({}, {})).ok
    assert not verify(chain({"kind": "boot"}, {})).ok


def test_a_start_of_another_journal_is_no_part_of_this_one():
    assert verify(chain(BOOT, BOOT)).ok
    assert verify(chain(BOOT, {**BOOT, "origin": "hoop-mcp/bb"})).bad_seq == 1


def test_a_repeated_key_is_found_though_every_hash_is_right():
    (row,) = chain(BOOT)
    body = row.body.replace(b'"ts":5', b'"ts":5,"ts":5')
    assert json.loads(body) == json.loads(row.body)
    verdict = verify([row._replace(body=body, leaf=leaf_hash(body))])
    assert verdict.why == "the body is not in canonical form"


def test_any_types_in_the_columns_are_faults_and_no_crash():
    (row,) = chain(BOOT)
    for name in EntryRow._fields[1:]:
        for value in (None, 1.5, "x", b"x", 2**62):
            if value != getattr(row, name):
                assert not verify([row._replace(**{name: value})]).ok, (name, value)


def contents(path):
    """Everything a journal says by any way of reading it."""
    with JournalReader.open(path) as reader:
        rows = list(reader.rows())
        entries = [reader.entry(row.seq) for row in rows if isinstance(row, EntryRow)]
        return rows, entries, reader.tail(1000)


def test_no_flipped_bit_changes_what_a_verified_journal_says(filled, tmp_path):
    source, path, chance = filled.path.read_bytes(), tmp_path / "journal.db", random.Random(20)
    said = contents(filled.path)
    found = silent = 0
    for _ in range(250):
        flipped = bytearray(source)
        flipped[chance.randrange(len(source))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            with JournalReader.open(path) as reader:
                intact = verify(reader.rows(), damage=reader.damage()).ok
        except HoopError:
            intact = False
        if intact:
            silent += 1
            assert contents(path) == said
        else:
            found += 1
    assert found > 100, "the flips hit nothing that matters"
    assert silent > 0, "no flip fell into slack bytes: the comparison was never made"


def test_broken_book_keeping_of_the_file_is_a_fault_though_every_row_reads(copied):
    content = bytearray(copied.path.read_bytes())
    content[36:40] = (5).to_bytes(4, "big")  # the file format's count of free pages
    copied.path.write_bytes(content)
    assert "SQLite finds the file damaged" in copied.verdict().why


def test_a_file_that_breaks_off_is_never_intact(copied):
    whole = copied.path.read_bytes()
    for pages in range(1, len(whole) // 4096):
        copied.path.write_bytes(whole[: pages * 4096])
        try:
            intact = copied.verdict().ok
        except HoopError:
            intact = False
        assert not intact, pages


def test_a_copy_of_the_file_proves_the_same(filled, tmp_path):
    shutil.copyfile(filled.path, tmp_path / "copy.db")
    assert filled.verdict(tmp_path / "copy.db") == filled.verdict()
