"""Onto the end of a chain: where it stands, whether it may be written on, and the rows that come next.

HOOP invariant: seal before put. What :class:`Batch` gives to be stored holds sealed parts as ciphertext only.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlite_utils import Database

from hoop_mcp.adapters.journal_reader import stored_rows
from hoop_mcp.errors import JournalUnavailable, NotCanonical
from hoop_mcp.journal.entry import GENESIS, Moment, PartNote, compose, leaf_hash, parse
from hoop_mcp.journal.seal import Box, Place, seal
from hoop_mcp.journal.verify import SLOTS, Base, verify
from hoop_mcp.terms import Event, EventKind, Receipt

if TYPE_CHECKING:
    from hoop_mcp.adapters.journal_file import sqlite
    from hoop_mcp.adapters.journal_keys import KeyFolder
    from hoop_mcp.terms import JsonValue

_TAIL = 512
"""How many of the last entries a start verifies: what a crash could have touched, in milliseconds."""

_STEP_BACK = 1_000_000
"""A wall clock that goes back by more than this, in microseconds, is worth an entry."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the next place, the leaf (hex) before it, and the latest wall clock written."""

    seq: int = 0
    prev: str = GENESIS
    ts: int = 0


class Batch:
    """Entries composed for one transaction, one after the other, onto a head."""

    def __init__(self, head: Head, origin: str, keys: KeyFolder, announced: frozenset[str]) -> None:
        self.head = head
        self.announced = announced
        self.entries: list[tuple[object, ...]] = []
        self.sealed: list[tuple[object, ...]] = []
        self._origin = origin
        self._keys = keys

    def add(self, event: Event, moment: Moment) -> Receipt:
        """Compose one entry, and before it those that explain it: a data key's first use, a clock that went back."""
        if self.head.ts - moment.ts > _STEP_BACK:
            step: dict[str, JsonValue] = {"alarm": "clock.step", "back_us": self.head.ts - moment.ts}
            self._put(Event(EventKind.ALARM, step), moment, {})
        kids = {part: self._keys.current(part, moment.ts) for part in event.sealed if Place("", 0, part).context()}
        for part, kid in sorted(kids.items()):
            if kid not in self.announced:
                self._put(Event(EventKind.KEY_ADD, {"key": kid, "class": part}), moment, {})
                self.announced |= {kid}
        return self._put(event, moment, kids)

    def _put(self, event: Event, moment: Moment, kids: dict[str, str]) -> Receipt:
        seq = self.head.seq
        boxes: dict[str, tuple[str, Box]] = {}
        notes: dict[str, PartNote] = {}
        for part, kid in sorted(kids.items()):
            box = seal(self._keys.key(kid), event.sealed[part], Place(self._origin, seq, part), secrets.token_bytes)
            boxes[part] = (kid, box)
            notes[part] = PartNote(kid, box.digest.hex(), box.commitment.hex(), len(event.sealed[part]))
        if len(notes) > SLOTS:
            raise NotCanonical(f"an entry has more than {SLOTS} sealed parts")
        body = compose(event, seq=seq, prev=self.head.prev, moment=moment, parts=notes)
        leaf = leaf_hash(body)
        decision = event.clear.get("decision")
        columns = (event.session, event.call, decision if isinstance(decision, str) else None)
        self.entries.append((seq, moment.ts, event.kind.value, *columns, body, leaf))
        for slot, (part, (kid, box)) in enumerate(boxes.items()):
            self.sealed.append((seq * SLOTS + slot, seq, part, kid, box.nonce, box.ciphertext))
        self.head = Head(seq + 1, leaf.hex(), moment.ts)
        return Receipt(seq=seq, leaf=leaf.hex(), size=seq + 1)


def end_of_chain(connection: sqlite.Connection, known: Head | None = None) -> tuple[Head, str]:
    """The end of the stored chain and its origin, after verifying the last entries; a new origin for an empty one.

    ``known`` is the end that was last acknowledged: it must still be there, and everything after it must verify.

    Raises:
        JournalUnavailable: the end does not verify, or an acknowledged entry is gone.
    """
    db = Database(connection, recursive_triggers=False, execute_plugins=False)
    last = db.execute("SELECT max(seq) FROM entry").fetchone()[0]
    if last is None:
        if known is not None and known.seq:
            raise JournalUnavailable("acknowledged entries are no longer in the journal")
        if db.execute("SELECT count(*) FROM sealed").fetchone()[0]:
            raise JournalUnavailable("the journal holds sealed parts and no entry: run journal verify")
        return Head(), f"hoop-mcp/{secrets.token_hex(16)}"
    try:
        origin = parse(_body(db, 0)).body["origin"]
        first = max(0, last + 1 - _TAIL) if known is None else known.seq
        base = Base(first, leaf_hash(_body(db, first - 1)).hex() if first else GENESIS, origin)
        final = parse(_body(db, last))
    except (KeyError, NotCanonical):
        raise JournalUnavailable("the end of the journal does not verify: run journal verify") from None
    if known is not None and (base.prev != known.prev or last + 1 < known.seq):
        raise JournalUnavailable("acknowledged entries are no longer in the journal")
    verdict = verify(stored_rows(db, first), base=base)
    if not verdict.ok:
        raise JournalUnavailable(f"the journal does not verify at entry {verdict.bad_seq}: {verdict.why}")
    return Head(last + 1, final.leaf, final.ts), origin


def _body(db: Database, seq: int) -> bytes:
    row = db.execute("SELECT body FROM entry WHERE seq = ?", (seq,)).fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise NotCanonical("an entry is missing")
    return row[0]
