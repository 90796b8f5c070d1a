"""The whole line, on both databases at once: what an agent would read of either, to be compared to the byte."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from property.noninterference.twins import PURPOSE, ROLE

from hoop_mcp.gate import Gate
from hoop_mcp.masking.apply import mask_columns
from hoop_mcp.sql.requests import read_request
from hoop_mcp.terms import Answer, Credential, EventKind, Principal, Receipt, RunSql, ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from property.noninterference.twins import World

    from hoop_mcp.adapters.postgres import PostgresDatabase
    from hoop_mcp.masking.apply import Masked
    from hoop_mcp.masking.plan import MaskPlan
    from hoop_mcp.terms import Event, Request

UNREAD = frozenset({"HOOP201", "HOOP202", "HOOP203", "HOOP205", "HOOP207", "HOOP208", "HOOP209", "HOOP214"})
PASSING = frozenset({"HOOP501", "HOOP502", "HOOP505", "HOOP506", "HOOP508"})
"""Refusals that may come and go with the load of the machine: asked again before they count as different."""


class End(StrEnum):
    """How far a statement came."""

    UNREAD = "unread"  # one of the two readers did not take it
    REFUSED = "refused"  # read, and something in it is not understood or not vouched for
    HELD = "held"  # understood, and policy said no
    FAILED = "failed"  # allowed, and PostgreSQL raised an error
    ANSWERED = "answered"  # allowed, with rows


class Told(NamedTuple):
    """What one side told the agent, and how far it came."""

    end: End
    told: bytes

    @property
    def allowed(self) -> bool:
        return self.end in (End.FAILED, End.ANSWERED)


class Pair(NamedTuple):
    """Both sides."""

    one: Told
    other: Told

    @property
    def same(self) -> bool:
        return self.one == self.other

    @property
    def allowed(self) -> bool:
        return self.one.allowed or self.other.allowed


class _Nothing:
    """Detection that finds nothing: whatever the lineage lets through must be seen raw, or a leak would look masked."""

    def scan(self, name: str, values: Sequence[str], skip: frozenset[str] = frozenset()) -> list[tuple[()]]:
        return [() for _ in values]

    def flagged(self, name: str, values: Sequence[str]) -> list[bool]:
        return [False for _ in values]


class _Masker:
    async def mask(
        self, plan: MaskPlan, rows: Sequence[Sequence[str | None]], *, timeout_s: float | None = None
    ) -> Masked:
        columns = list(zip(*rows, strict=True)) if rows else [() for _ in plan.columns]
        return mask_columns(plan, columns, finder=_Nothing(), key=b"the same key on both sides")


class _Journal:
    def __init__(self) -> None:
        self.kinds: list[EventKind] = []

    async def record(self, event: Event) -> Receipt:
        self.kinds.append(event.kind)
        return Receipt(1, "leaf", 2)


_read = lru_cache(maxsize=8)(read_request)  # pure, and both sides read the same text


async def _reading(sql: str) -> Request:
    return _read(sql)


class Side:
    """One database behind a gate of its own."""

    def __init__(self, world: World, database: PostgresDatabase) -> None:
        self.database = database
        self._journal = _Journal()
        self._callers = 0
        self._gate = Gate(
            identify=self._identify,
            databases={world.name: database},
            policies=world.policies,
            journal=self._journal,
            masker=_Masker(),
            now=lambda: datetime(2026, 3, 2, 12, tzinfo=UTC),
            engine="none",
            reading=_reading,
        )

    def _identify(self, credential: Credential) -> Principal:
        """Somebody new each time: no budget is ever spent, and nothing here waits for an hour to pass."""
        self._callers += 1
        return Principal(f"local:{self._callers}", "agent", (ROLE,), (PURPOSE,), credential.session)

    async def ask(self, sql: str, tool: str) -> Told:
        self._journal.kinds.clear()
        call = ToolCall("call", Credential("stdio", "session", "fuzz"), RunSql(tool=tool, sql=sql, max_rows=1_000))
        outcome = await self._gate.handle(call)
        if isinstance(outcome, Answer):
            return Told(End.ANSWERED, outcome.body + outcome.summary.encode())
        told = str(outcome).encode()
        if EventKind.INTENT in self._journal.kinds:
            return Told(End.FAILED, told)
        assert outcome.code != "HOOP321", "a budget is spent: what is seen is no longer the line"
        if outcome.code in UNREAD or outcome.code == "HOOP503":  # a literal that its type does not take
            return Told(End.UNREAD, told)
        return Told(End.HELD if outcome.code.startswith("HOOP3") else End.REFUSED, told)


class Line:
    """Both sides of a world."""

    def __init__(self, world: World, databases: tuple[PostgresDatabase, PostgresDatabase]) -> None:
        self.world = world
        self.sides = tuple(Side(world, database) for database in databases)

    async def ask(self, sql: str, tool: str = "query") -> Pair:
        """Send one statement to both; a difference that the load of the machine may have made is asked again."""
        for _ in range(3):
            pair = Pair(*await asyncio.gather(*(side.ask(sql, tool) for side in self.sides)))
            if pair.same or not any(told.told[:7].decode() in PASSING for told in pair):
                break
        return pair

    async def close(self) -> None:
        for side in self.sides:
            await side.database.close()
