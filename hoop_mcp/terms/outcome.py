"""What the agent gets: an expected outcome is a value, not an exception."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hoop_mcp.terms.event import Receipt


@dataclass(frozen=True, slots=True)
class Answer:
    """A masked answer whose outcome is already durable in the journal.

    ``body`` is the JSON object the agent reads, without the receipt: the same bytes that were sealed.
    ``summary`` is the short text beside it.
    """

    call_id: str
    body: bytes = field(repr=False)
    summary: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing came back, in words an agent can act on; never a value, never the server's own message."""

    call_id: str
    code: str
    reason: str
    instead: str

    def __str__(self) -> str:
        return f"{self.code}: {self.reason} {self.instead}".rstrip()


Outcome: TypeAlias = Answer | Refusal
