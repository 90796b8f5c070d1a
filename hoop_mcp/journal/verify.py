"""Verification: stored rows in, a verdict out. No file, no key, no clock.

What it proves: nobody who does not rewrite everything after it has changed, removed, swapped or inserted an entry, nor
altered or removed a sealed part. What it cannot prove alone: that the end was not cut off, and that the whole was not
written anew. That takes a copy of the head kept where the writer of the journal cannot reach; until one is
compared the verdict says ``unanchored``.

The rules, per entry: consecutive ``seq`` from 0; canonical bytes; ``prev`` is the leaf before; the stored leaf and the
query columns repeat the body; every part named is there, whole, under the key named, or it is LOST; every sealed row
is named by an entry, or it is an orphan. Every start names the same origin.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from hoop_mcp.errors import NotCanonical
from hoop_mcp.journal.entry import GENESIS, Entry, PartNote, leaf_hash, parse
from hoop_mcp.journal.seal import TAG_BYTES, box_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SLOTS = 64
"""A sealed row's id is ``seq * SLOTS`` plus the place of its part among the entry's parts in name order."""


class EntryRow(NamedTuple):
    """A row of ``entry`` as stored. Only the place is sure to have its type: a tampered file may hold anything."""

    seq: int
    ts: Any
    kind: Any
    session: Any
    call: Any
    decision: Any
    body: Any
    leaf: Any


class SealedRow(NamedTuple):
    """A row of ``sealed`` as stored; only ``id`` is sure to have its type."""

    id: int
    seq: Any
    part: Any
    kid: Any
    nonce: Any
    ciphertext: Any


class Damaged(Exception):  # a state of the file, not of this program
    """Raised by a source of rows that can read no further because the file itself is damaged."""


@dataclass(frozen=True, slots=True)
class Base:
    """Where to begin when the entries before are not looked at: the next ``seq`` and the leaf (hex) before it."""

    seq: int = 0
    prev: str = GENESIS
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rows prove.

    ``head`` is the last leaf in hex (None for an empty chain), ``size`` the number of entries the chain should have by
    its last one. ``bad_seq`` and ``why`` name the first fault; ``bad_seq`` is None where it has no place in the chain.
    ``faults`` counts all of them, ``lost`` the sealed parts that are missing, ``orphans`` the sealed rows that no entry
    names. ``first_ts`` and ``last_ts`` are microseconds since 1970 UTC.
    """

    ok: bool
    size: int
    head: str | None
    origin: str | None
    bad_seq: int | None
    why: str | None
    faults: int
    kinds: Mapping[str, int]
    sealed: int
    sealed_bytes: int
    lost: int
    orphans: int
    first_ts: int | None
    last_ts: int | None

    @property
    def standing(self) -> str:
        """How far the verdict reaches. Anchors are not compared by this function."""
        return "unanchored"


def verify(rows: Iterable[EntryRow | SealedRow], *, damage: Iterable[str] = (), base: Base | None = None) -> Verdict:
    """Check rows in the order of their place: an entry, then its sealed rows, then the next entry.

    Args:
        rows: the stored rows; a :class:`Damaged` raised by the source becomes a fault at that place.
        damage: faults that the source found in the file around the rows.
        base: begin after these entries, which are then taken on trust; the start of the chain by default.
    """
    check = _Check(Base() if base is None else base)
    for fault in damage:
        check.fault(None, fault)
    try:
        for row in rows:
            if isinstance(row, EntryRow):
                check.entry(row)
            else:
                check.sealed_row(row)
    except Damaged as error:
        check.fault(check.next, f"the file cannot be read from here on: {error}")
    check.settle()
    if check.next == 0:
        check.fault(0, "there is no entry, and a journal begins with a start")
    return check.verdict()


class _Check:
    """One pass. After a fault it goes on from what is stored, so that each fault is counted once."""

    def __init__(self, base: Base) -> None:
        self.next = base.seq
        self._prev = base.prev
        self._origin = base.origin
        self._entry: Entry | None = None
        self._due: dict[str, tuple[int, PartNote]] = {}
        self._head: str | None = None if base.seq == 0 else base.prev
        self._first: tuple[int | None, str] | None = None
        self._faults = 0
        self._lost = 0
        self._orphans = 0
        self._sealed = 0
        self._sealed_bytes = 0
        self._kinds: Counter[str] = Counter()
        self._times: list[int] = []

    def fault(self, seq: int | None, why: str) -> None:
        self._faults += 1
        if self._first is None or (self._first[0] is None and seq is not None):
            self._first = (seq, why)

    def entry(self, row: EntryRow) -> None:
        self.settle()
        seq = row.seq
        if seq != self.next:
            missing = f"entries {self.next} to {seq - 1} are missing" if seq > self.next else "it stands out of order"
            self.fault(min(seq, self.next), missing)
        if not isinstance(row.body, bytes):
            self.fault(seq, "the body is not bytes")
            self.next, self._entry = seq + 1, None
            return
        leaf = leaf_hash(row.body)
        if leaf != row.leaf:
            self.fault(seq, "the body does not hash to the stored leaf")
        try:
            entry = parse(row.body)
        except NotCanonical as error:
            self.fault(seq, str(error))
        else:
            self._compare(row, entry)
            self._entry = entry
            self._due = {name: (slot, entry.parts[name]) for slot, name in enumerate(sorted(entry.parts))}
            self._kinds[entry.kind] += 1
            self._times = [*self._times[:1], entry.ts]
        self.next, self._prev, self._head = seq + 1, leaf.hex(), leaf.hex()

    def _compare(self, row: EntryRow, entry: Entry) -> None:
        if entry.seq != row.seq:
            self.fault(row.seq, f"the body belongs at place {entry.seq}")
        if entry.prev != self._prev:
            self.fault(row.seq, "prev is not the leaf of the entry before")
        copies: dict[str, tuple[Any, Any]] = {
            "ts": (row.ts, entry.ts),
            "kind": (row.kind, entry.kind),
            "session": (row.session, entry.session),
            "call": (row.call, entry.call),
            "decision": (row.decision, entry.decision),
        }
        for column, (stored, said) in copies.items():
            if stored != said:
                self.fault(row.seq, f"the column {column} does not repeat the body")
        if row.seq == 0 and (entry.kind != "boot" or not isinstance(entry.body.get("origin"), str)):
            self.fault(0, "the chain does not begin with a start that names its origin")
        elif entry.kind == "boot":
            origin = entry.body.get("origin")
            if self._origin is not None and origin != self._origin:
                self.fault(row.seq, "this start names another origin")
            self._origin = self._origin or origin

    def sealed_row(self, row: SealedRow) -> None:
        # Whatever no entry names is an orphan, be it misplaced, doubled or planted: it is not covered by any leaf.
        entry = self._entry
        slot, note = self._due.get(row.part, (-1, None)) if isinstance(row.part, str) else (-1, None)
        if entry is None or note is None or row.seq != entry.seq or row.id != row.seq * SLOTS + slot:
            self._orphans += 1
            self.fault(row.id // SLOTS, "a sealed row is stored here that no entry names")
            return
        del self._due[row.part]
        if not isinstance(row.nonce, bytes) or not isinstance(row.ciphertext, bytes):
            self.fault(row.seq, f"the sealed part {row.part} is not bytes")
            return
        self._sealed += 1
        self._sealed_bytes += len(row.ciphertext)
        if row.kid != note.kid:
            self.fault(row.seq, f"the sealed part {row.part} is stored under another key than the body names")
        if box_digest(row.nonce, row.ciphertext).hex() != note.digest:
            self.fault(row.seq, f"the sealed part {row.part} is altered")
        elif len(row.ciphertext) != note.length + TAG_BYTES:
            self.fault(row.seq, f"the sealed part {row.part} has another length than the body says")

    def settle(self) -> None:
        """Close the books of the entry before: a part named and not seen is lost."""
        if self._entry is not None:
            for name in sorted(self._due):
                self._lost += 1
                self.fault(
                    self._entry.seq, f"the sealed part {name} is LOST: nothing in the journal says it was erased"
                )
        self._entry = None
        self._due = {}

    def verdict(self) -> Verdict:
        bad_seq, why = self._first or (None, None)
        return Verdict(
            ok=self._faults == 0,
            size=self.next,
            head=self._head,
            origin=self._origin,
            bad_seq=bad_seq,
            why=why,
            faults=self._faults,
            kinds=dict(sorted(self._kinds.items())),
            sealed=self._sealed,
            sealed_bytes=self._sealed_bytes,
            lost=self._lost,
            orphans=self._orphans,
            first_ts=self._times[0] if self._times else None,
            last_ts=self._times[-1] if self._times else None,
        )
