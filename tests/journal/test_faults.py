"""Processes that end badly, and places that cannot be written."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hoop_mcp.adapters.journal_reader import JournalReader

MODES = ("wal", "truncate")

FULL = """
import asyncio, json, resource, sys
from pathlib import Path
from hoop_mcp.adapters.sqlite_journal import SqliteJournal
from hoop_mcp.errors import JournalUnavailable
from hoop_mcp.terms import Event, EventKind
folder, mode = Path(sys.argv[1]), sys.argv[2]
journal = SqliteJournal.open(folder / "journal.db", folder / "keys", mode=mode)
event = Event(EventKind.INTENT, {"n": 1, "pad": "x" * 2000}, sealed={"sql": b"y" * 2000})
def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
async def main():
    acked, refused = {}, 0
    async def one():
        nonlocal refused
        try:
            receipt = await journal.record(event)
        except JournalUnavailable:
            refused += 1
        else:
            acked[receipt.seq] = receipt.leaf
    await one()
    limit(150_000)
    while refused < 5:
        await one()
    before = len(acked)
    limit(resource.RLIM_INFINITY)
    await one()
    print(json.dumps({"acked": acked, "before": before, "refused": refused}))
asyncio.run(main())
journal.close()
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_refuses_loses_nothing_acknowledged_and_goes_on_when_there_is_room(shelf, mode):
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(shelf.folder), mode], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout)
    assert told["before"] > 5
    assert len(told["acked"]) == told["before"] + 1
    assert told["refused"] >= 5
    assert_kept(shelf, told["acked"])


KILLED = """
import asyncio, os, random, signal, sys, time
from pathlib import Path
from hoop_mcp.adapters.sqlite_journal import SqliteJournal
from hoop_mcp.terms import Event, EventKind
folder, mode, rounds, chance = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), random.Random(5)
async def write(out):
    journal = SqliteJournal.open(folder / "journal.db", folder / "keys", mode=mode)
    event = Event(EventKind.INTENT, {"pad": "x" * 300}, sealed={"sql": b"y" * 300})
    async def one():
        while True:
            receipt = await journal.record(event)
            os.write(out, f"{receipt.seq} {receipt.leaf}\\n".encode())
    await asyncio.gather(*(one() for _ in range(8)))
for _ in range(rounds):
    read, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            asyncio.run(write(out))
        finally:
            os._exit(3)
    os.close(out)
    with os.fdopen(read, "rb") as acks:
        first = acks.readline()
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        sys.stdout.write((first + acks.read()).decode())
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        sys.exit("the child ended by itself")
"""


@pytest.mark.parametrize(("mode", "rounds"), [("wal", 30), ("truncate", 12)])
def test_no_acknowledged_entry_is_lost_to_kill_9(shelf, mode, rounds):
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(shelf.folder), mode, str(rounds)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    acked = dict(line.split() for line in child.stdout.splitlines() if len(line.split()[-1]) == 64)
    assert len(acked) > rounds * 8
    left_over = assert_kept(shelf, acked)
    assert left_over.kinds["boot"] == rounds
    shelf.open().close()
    assert_kept(shelf, acked)


def assert_kept(shelf, acked):
    with JournalReader.open(shelf.path) as reader:
        stored = {entry.seq: entry.leaf for entry in reader.tail(1_000_000)}
    assert [seq for seq, leaf in acked.items() if stored.get(int(seq)) != leaf] == []
    verdict = shelf.verdict()
    assert verdict.ok, verdict
    return verdict


LOCKED_OUT = """
import os, sys
from pathlib import Path
from hoop_mcp.adapters.sqlite_journal import SqliteJournal
folder = Path(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)  # permissions do not bind root
SqliteJournal.open(folder / "journal.db", folder / "keys")
"""


@pytest.mark.parametrize("left", ["the file", "the folder"])
def test_a_journal_that_may_not_be_written_is_refused_at_start(filled, left):
    with tempfile.TemporaryDirectory() as name:  # every folder above it may be entered by any account
        folder = Path(name)
        shutil.copyfile(filled.path, folder / "journal.db")
        (folder / "journal.lock").touch(0o666)
        (folder / "journal.lock").chmod(0o666)
        (folder / "journal.db").chmod(0o444 if left == "the file" else 0o666)
        folder.chmod(0o755)
        if os.getuid() != 0 and left == "the folder":
            folder.chmod(0o555)
        child = subprocess.run(
            [sys.executable, "-c", LOCKED_OUT, name], capture_output=True, text=True, timeout=30, check=False
        )
        folder.chmod(0o755)
        assert child.returncode != 0
        assert "JournalUnavailable" in child.stderr
        assert "cannot be opened for writing" in child.stderr
