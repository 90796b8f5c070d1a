"""Steps 3 to 5 of a call: what a statement means to PostgreSQL, which columns it uses, and what policy says to that.

Shared by the gate, which goes on from here, and by whoever only wants the verdict (``policy explain``, ``policy
test``): both must come to the same decision by the same way.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from hoop_mcp.errors import Refused
from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.facts import Facts, facts
from hoop_mcp.sql.metadata import METADATA
from hoop_mcp.sql.resolved import Login

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from hoop_mcp.journal.telling import Trail
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.sql.resolved import Resolved
    from hoop_mcp.terms import Analysis, Decision, JsonValue, Mandate, Principal, Statement
    from hoop_mcp.tools.describing import DescribedRelation

TIMEOUT_MS = 5_000
_KEPT_LOGINS = 5_000
_KEPT_DECISIONS = 16


class Lease(Protocol):
    """One transaction of one login, for one statement; rolled back when its context ends."""

    login: Login

    async def resolve(self, statement: Statement, timeout_ms: int) -> Resolved:
        """Parse, unexecuted."""
        ...

    async def execute(
        self, resolved: Resolved, parameters: Sequence[JsonValue], limit: int
    ) -> list[Sequence[str | None]]:
        """Run what was resolved here and nothing else; rows of PostgreSQL's own text."""
        ...

    async def plan(self, resolved: Resolved, parameters: Sequence[JsonValue]) -> list[str]:
        """The planner's tree, without costs."""
        ...

    async def doubt(self, resolved: Resolved) -> None:
        """Before a no: do not keep the statement, and refuse (HOOP505) if its facts are no longer true."""
        ...

    async def unchanged(self, resolved: Resolved) -> None:
        """Refuse (HOOP505) if anything the statement rests on changed since it was resolved."""
        ...


class Database(Protocol):
    """A governed database."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """What its columns hold."""
        ...

    def lease(self, login: Login) -> AbstractAsyncContextManager[Lease]:
        """A connection of *login*."""
        ...

    async def describe(self) -> Sequence[DescribedRelation]:
        """Every table and view outside the system's schemas, comments unmasked."""
        ...


class Judged:
    """A decision with the facts it was made from."""

    __slots__ = ("decision", "facts")

    def __init__(self, decision: Decision, seen: Facts) -> None:
        self.decision = decision
        self.facts = seen


class Analyst:
    """Steps 3 to 5, shared by the gate and by whoever only wants the verdict."""

    def __init__(self, databases: Mapping[str, Database], policies: PolicySet, now: Callable[[], datetime]) -> None:
        self.databases = databases
        self._policies = policies
        self._now = now
        self._by_the_clock = any(rule.when.hours for policy in policies.policies for rule in policy.rules)
        self._logins: dict[tuple[str, str], Login] = {}
        self._personal = {
            name: frozenset(ref.column for ref, held in database.catalogue.columns.items() if held.personal)
            for name, database in databases.items()
        }

    def database(self, name: str | None) -> Database:
        """The database named, or the only one."""
        if name is None:
            if len(self.databases) == 1:
                return next(iter(self.databases.values()))
            raise Refused("HOOP104", "The call names no database, and there are several.")
        if name not in self.databases:
            raise Refused("HOOP104", "The call names a database that is not here.")
        return self.databases[name]

    @asynccontextmanager
    async def resolve(
        self, database: Database, statement: Statement, trail: Trail
    ) -> AsyncIterator[tuple[Lease, Resolved, Analysis]]:
        """Resolve and trace the statement on the login that its trace calls for.

        Which login is due is known only from the trace, and both logins can Parse: it starts with the one that was due
        last time (or seems due), and changes over if that was wrong. PostgreSQL itself then refuses what a mistaken
        trace would have shown: the clean login holds no privilege on a personal column.
        """
        key = (database.name, statement.sql)
        login = self._logins.get(key) or _likely(self._personal[database.name], statement)
        for _ in range(2):
            async with database.lease(login) as lease:
                resolved = await lease.resolve(statement, TIMEOUT_MS)
                trail.known = resolved.known
                try:
                    trail.analysis = analysis = resolved.trace()
                except Refused:
                    await lease.doubt(resolved)
                    raise
                due = Login.FULL if analysis.personal else Login.CLEAN
                if due is login:
                    trail.login = login
                    self._remember(key, login)
                    yield lease, resolved, analysis
                    return
            login = due
        raise Refused("HOOP216", "The statement means different things to the two logins.")

    def decide(
        self, analysis: Analysis, database: Database, principal: Principal, standing: Mandate, reason: str | None
    ) -> Judged:
        """The policy decision, with its facts."""
        return Judged(
            decide(self._policies, seen := self._facts(analysis, database, principal, standing, reason)), seen
        )

    def decide_again(
        self, resolved: Resolved, database: Database, principal: Principal, standing: Mandate, reason: str | None
    ) -> Decision:
        """The policy decision, kept beside a kept statement where nothing but the caller's standing can change it."""
        if self._by_the_clock or reason is not None:
            return self.decide(resolved.trace(), database, principal, standing, reason).decision
        key = (standing, principal.actor, principal.client.name if principal.client else None)
        decision = resolved.decisions.get(key)
        if decision is None:
            decision = self.decide(resolved.trace(), database, principal, standing, reason).decision
            if len(resolved.decisions) < _KEPT_DECISIONS:
                resolved.decisions[key] = decision
        return decision

    def _facts(
        self, analysis: Analysis, database: Database, principal: Principal, standing: Mandate, reason: str | None
    ) -> Facts:
        return facts(
            analysis,
            database.catalogue,
            principal=principal,
            mandate=standing,
            database=database.name,
            now=self._now(),
            reason=reason,
            metadata=frozenset(METADATA),
        )

    def _remember(self, key: tuple[str, str], login: Login) -> None:
        if len(self._logins) >= _KEPT_LOGINS:
            self._logins.clear()
        self._logins[key] = login


def refused_by(decision: Decision) -> Refused:
    """A deny or a hold, in the policy's own words."""
    return Refused(decision.code or "HOOP301", " ".join(decision.because), decision.instead or None)


def _likely(personal: frozenset[str], statement: Statement) -> Login:
    """A guess to save a Parse, never a judgement: full where a column with the name of a personal one is spoken of."""
    if not statement.relations:
        return Login.CLEAN
    return Login.CLEAN if personal.isdisjoint(statement.words) and not _starred(statement) else Login.FULL


def _starred(statement: Statement) -> bool:
    return any(token.kind == "k" and token.text == "*" for token in statement.tokens)
