"""Steps 3 to 5 of a call: what a statement means to PostgreSQL, which columns it uses, and what policy says to that.

Shared by the gate, which goes on from here, and by whoever only wants the verdict (``policy explain``, ``policy
test``): both must come to the same decision by the same way.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from hoop_mcp.errors import Refused
from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.facts import Facts, facts
from hoop_mcp.sql.metadata import METADATA
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import Analysis, Explain, OutputColumn, Show, Statement, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from datetime import datetime

    from hoop_mcp.journal.telling import Trail
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.sql.plans import PlanForm
    from hoop_mcp.sql.resolved import Resolved
    from hoop_mcp.terms import Decision, JsonValue, Mandate, Principal, Request
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
        self,
        resolved: Resolved,
        parameters: Sequence[JsonValue],
        limit: int,
        wanted: Callable[[Sequence[str | None]], bool] | None = None,
    ) -> list[Sequence[str | None]]:
        """Run what was resolved here and nothing else; at most *limit* rows, of those *wanted*, of PostgreSQL's text."""
        ...

    async def plan(self, resolved: Resolved, parameters: Sequence[JsonValue], form: PlanForm) -> list[str]:
        """The plan of what was resolved here, in PostgreSQL's lines; MEASURED runs it."""
        ...

    async def show(self, setting: str, timeout_ms: int) -> str:
        """The value of one vouched setting."""
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

    def __init__(
        self,
        databases: Mapping[str, Database],
        policies: PolicySet,
        now: Callable[[], datetime],
        parsing: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        """*parsing* stands around each Parse of a principal: what PostgreSQL refuses there is counted."""
        self.databases = databases
        self._parsing = parsing
        self._policies = policies
        self._now = now
        self._by_the_clock = any(rule.when.hours for policy in policies.policies for rule in policy.rules)
        self._logins: dict[tuple[str, int], Login] = {}
        self._personal = {
            name: frozenset(ref.column for ref, held in database.catalogue.columns.items() if held.personal)
            for name, database in databases.items()
        }

    def database(self, name: str | None) -> Database:
        """The database named, or the only one."""
        if name is None:
            if len(self.databases) == 1:
                return next(iter(self.databases.values()))
            raise Refused("HOOP104", "The call names no database, and there are several.", self._one_of())
        if name not in self.databases:
            raise Refused("HOOP104", "The call names a database that is not here.", self._one_of())
        return self.databases[name]

    def _one_of(self) -> str:
        return f"Pass database as one of: {', '.join(sorted(self.databases))}."

    @asynccontextmanager
    async def resolve(
        self, database: Database, statement: Statement, trail: Trail
    ) -> AsyncIterator[tuple[Lease, Resolved, Analysis]]:
        """Resolve and trace the statement on the login that its trace calls for.

        Which login is due is known only from the trace, and both logins can Parse: it starts with the one that was due
        last time (or seems due), and changes over if that was wrong. PostgreSQL itself then refuses what a mistaken
        trace would have shown: the clean login holds no privilege on a personal column.
        """
        key = (database.name, hash(statement.sql))  # two that collide share a guess; a text may have 64 kB
        login = self._logins.get(key) or _likely(self._personal[database.name], statement)
        for _ in range(2):
            async with database.lease(login) as lease:
                with self._parsing(trail.principal.ident if trail.principal is not None else ""):
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

    def _remember(self, key: tuple[str, int], login: Login) -> None:
        if len(self._logins) >= _KEPT_LOGINS:
            self._logins.clear()
        self._logins[key] = login


def only_reads(request: Request, tool: str) -> None:
    """Let nothing through that writes, be it to be explained.

    Raises:
        Refused: HOOP206.
    """
    statement = request.statement if isinstance(request, Explain) else request
    if isinstance(statement, Show) or statement.verb is Verb.READ:
        return
    if statement is request:
        raise Refused("HOOP206", f"The {tool} tool only reads, and this statement writes.")
    raise Refused(
        "HOOP206",
        "EXPLAIN stands before a statement that writes; ANALYZE would run it, and plans of writes are not told yet.",
        "Explain the SELECT that finds the same rows.",
    )


def only_judged(request: Request) -> tuple[Statement, tuple[str, ...]]:
    """The statement to judge without running it, with the options of an EXPLAIN before it that no plan honours.

    Raises:
        Refused: HOOP205, it asks to be run, or is no statement.
    """
    match request:
        case Statement():
            return request, ()
        case Explain(analyze=False):
            return request.statement, request.omitted
        case Explain():
            raise Refused(
                "HOOP205",
                "The explain tool runs nothing, and ANALYZE runs the statement.",
                "Leave ANALYZE out, or send the same with the query tool.",
            )
        case Show():
            raise Refused("HOOP205", "SHOW has no plan.", "Send it with the query tool.")


def one_column(name: str) -> Analysis:
    """A read that reaches no relation and answers one column of text: what SHOW is, to policy."""
    nothing: frozenset[str] = frozenset()
    return Analysis(
        verb=Verb.READ,
        columns=(OutputColumn(name, "text"),),
        probes=frozenset(),
        lookups=frozenset(),
        relations=nothing,
        behind=nothing,
        functions=nothing,
    )


@contextmanager
def one_no(analysis: Analysis) -> Iterator[None]:
    """Around the execution: one refusal for every limit that a statement on personal data may run into.

    Whether the rows were too many bytes, took too long or met a lock can be made to depend on a value: by making the
    answer large where it begins with an a. So the agent learns that a limit was met and never which; the journal keeps it.
    The caps on the answer itself count what is masked, and are no part of this.

    Raises:
        Refused: HOOP502, with the true one as its cause.
    """
    try:
        yield
    except TimeoutError:
        late = Refused("HOOP502", "The statement ran into its time limit.")
        raise (_met(late) if analysis.personal else late) from None
    except Refused as refused:
        if not analysis.personal or refused.code not in ("HOOP502", "HOOP507"):
            raise
        raise _met(refused) from None


def _met(limit: Refused) -> Refused:
    return Refused("HOOP502", "The statement ran into a limit of time, of locks or of size.", cause=str(limit))


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
