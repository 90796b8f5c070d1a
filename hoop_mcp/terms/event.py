"""What the journal is told, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.terms.call import JsonValue


class EventKind(StrEnum):
    """The kinds of entry. ``intent`` precedes the database, ``outcome`` precedes the answer."""

    BOOT = "boot"
    INTENT = "intent"
    OUTCOME = "outcome"
    REFUSAL = "refusal"
    POLICY_LOAD = "policy.load"
    KEY_ADD = "key.add"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ``clear`` goes into the hashed body and must hold no personal data: ids, names of tables, counts, digests; its
    JSON uses ASCII keys, integers within 2**53 and no floats. ``sealed`` parts (``sql``, ``identity``, ``answer``)
    are encrypted before they touch the disk.
    """

    kind: EventKind
    clear: Mapping[str, JsonValue]
    call: str | None = None
    session: str | None = None
    sealed: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an entry is durable: its place, its leaf hash (hex) and the size of the chain with it."""

    seq: int
    leaf: str
    size: int
