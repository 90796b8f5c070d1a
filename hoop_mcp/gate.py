"""The enforcement point: the one place that knows the order of a call.

1. **identify** the caller: no principal, no call.
2. **read** the statement offline: what this reader cannot read, the database never sees.
3. **resolve** it with PostgreSQL: Parse, unexecuted; both trees and the facts they need.
4. **trace** every catalogued column: shown, probe, or lookup.
5. **decide**: policy and facts to one Decision.
6. **journal the intent**, durably, before anything runs.
7. **hold**, if so decided: answered as a refusal while no approvals are served.
8. **execute** what was resolved, on the clean login if nothing personal is touched, on the full one otherwise.
9. **mask** in the worker, while the catalogs are checked once more for changes.
10. **journal the outcome**, durably, the answer sealed, before
11. **answer**, with a receipt.

Getting the order wrong is a security bug: journaling after execution would lose the record of the statement that
crashed us, and masking after the outcome would seal rows nobody may see. Any exception between 2 and 10 ends in one
place, :meth:`Gate.handle`: a refusal that says a code, a reason and what to do, is journaled, and reveals nothing.
There is no switch that fails open.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import orjson

from hoop_mcp.errors import JournalUnavailable, Refused
from hoop_mcp.identity.local import mandate
from hoop_mcp.journal.telling import Trail
from hoop_mcp.masking.plan import MaskPlan, plan
from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.facts import Facts, facts
from hoop_mcp.policy.reach import reachable
from hoop_mcp.sql.metadata import METADATA
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import (
    Answer,
    Decision,
    DescribeTable,
    Effect,
    ListDatabases,
    Malformed,
    Operator,
    OutputColumn,
    Refusal,
    RunSql,
    SearchSchema,
    Verb,
    WhoAmI,
)
from hoop_mcp.tools import describing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from hoop_mcp.masking.apply import Masked
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.sql.resolved import Resolved
    from hoop_mcp.terms import (
        Analysis,
        Credential,
        Event,
        JsonValue,
        Mandate,
        Outcome,
        Principal,
        Receipt,
        Statement,
        ToolCall,
    )

DEFAULT_ROWS = 200
MOST_ROWS = 1_000
MOST_BYTES = 256_000
TIMEOUT_MS = 5_000
_KEPT_LOGINS = 5_000
_KEPT_DECISIONS = 16
_read = lru_cache(maxsize=1_000)(read)  # reading is pure: the same text means the same to the offline reader


class Journal(Protocol):
    """Where every step goes. Durable once it returns."""

    async def record(self, event: Event) -> Receipt:
        """Append one entry.

        Raises:
            JournalUnavailable: it could not be made durable; the caller must not go on.
        """
        ...


class Masker(Protocol):
    """Applies a plan to rows in another process; raises Refused HOOP701 rather than give back a raw cell."""

    async def mask(
        self, plan: MaskPlan, rows: Sequence[Sequence[str | None]], *, timeout_s: float | None = None
    ) -> Masked:
        """The rows as masked JSON."""
        ...


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

    async def describe(self) -> Sequence[describing.DescribedRelation]:
        """Every table and view outside the system's schemas, comments unmasked."""
        ...


class Gate:
    """Everything an agent asks goes through :meth:`handle`, and nothing else leads to a database."""

    def __init__(
        self,
        *,
        identify: Callable[[Credential], Principal],
        databases: Mapping[str, Database],
        policies: PolicySet,
        journal: Journal,
        masker: Masker,
        now: Callable[[], datetime],
        engine: str,
    ) -> None:
        self._identify = identify
        self._analyst = Analyst(databases, policies, now)
        self._journal = journal
        self._masker = masker
        self._policies = policies
        self._engine = engine
        self._telling: set[asyncio.Task[Receipt]] = set()

    async def handle(self, call: ToolCall) -> Outcome:
        """Carry one call to its end: an Answer, or a Refusal; cancellation is journaled and raised through."""
        trail = Trail(call, policy=self._policies.digest, engine=self._engine)
        started = time.perf_counter()
        try:
            trail.principal = self._identify(call.credential)
            match call.ask:
                case Malformed() as ask:
                    raise Refused(ask.code, ask.reason, ask.instead)
                case RunSql(tool="explain") as ask:
                    return await self._explain(ask, trail)
                case RunSql() as ask:
                    return await self._query_again(ask, trail, started)
                case ask:
                    return await self._describe(ask, trail)
        except Refused as refused:
            return await self._refuse(trail, refused, started)
        except JournalUnavailable:
            return _refusal(trail, _journal_down())
        except TimeoutError:
            return await self._refuse(trail, Refused("HOOP502", "The statement ran into its time limit."), started)
        except asyncio.CancelledError:
            # The scope is being cancelled, so this entry is written by a task of its own.
            self._tell_later(trail.refusal(Refused("HOOP109", "The client cancelled the call."), _since(started)))
            raise
        except Exception as error:
            # Only the class is kept: the text of an exception may quote a value.
            broken = Refused(
                "HOOP199", f"The gateway failed inside ({type(error).__name__}), and nothing was revealed."
            )
            return await self._refuse(trail, broken, started)

    # -- the line

    async def _query_again(self, ask: RunSql, trail: Trail, started: float) -> Answer:
        """The line, and once more from its start if the statement was analysed anew while it ran.

        PostgreSQL does that after ANALYZE too, which changes nothing that matters. Nothing of the first attempt is used:
        the rows were withheld, its end is journaled, and the second has an intent of its own.
        """
        try:
            return await self._query(ask, trail)
        except Refused as refused:
            if refused.code != "HOOP505":
                raise
            await self._journal.record(trail.refusal(refused, _since(started)))
            trail.again()
        return await self._query(ask, trail)

    async def _query(self, ask: RunSql, trail: Trail) -> Answer:
        started = time.perf_counter()
        principal = _known(trail.principal)
        database = self._analyst.database(ask.database)
        trail.database = database.name
        trail.mandate = mandate(principal, ask.role, ask.purpose)
        trail.statement = statement = _read(ask.sql)
        if statement.verb is Verb.WRITE:
            raise Refused("HOOP206", "The query tool only reads, and this statement writes.")
        async with self._analyst.resolve(database, statement, trail) as (lease, resolved, analysis):
            decision = self._analyst.decide_again(resolved, database, principal, trail.mandate, ask.reason)
            trail.decision = decision
            if decision.effect is not Effect.ALLOW:
                await lease.doubt(resolved)
                raise refused_by(decision)
            await self._journal.record(trail.intent())
            limit = _row_limit(ask.max_rows, decision)
            async with asyncio.timeout((decision.limits.timeout_ms or TIMEOUT_MS) / 1000 + 1):
                rows = await lease.execute(resolved, ask.params, limit + 1)
            how = plan(analysis.columns, decision.masks)
            masked, _ = await asyncio.gather(self._mask(how, rows[:limit], decision), lease.unchanged(resolved))
        shown, rows_shown = masked
        body = _answer(trail, analysis, decision, shown, rows_shown, truncated=rows_shown < len(rows))
        figures: dict[str, JsonValue] = {
            "rows": rows_shown,
            "bytes": len(body),
            "truncated": rows_shown < len(rows),
            "masked": [list(count) for count in shown.counts],
            "ms": _since(started),
        }
        receipt = await self._journal.record(trail.outcome(figures, body))
        return Answer(trail.call.call_id, body, _summary(rows_shown, decision), receipt)

    async def _mask(self, how: MaskPlan, rows: list[Sequence[str | None]], decision: Decision) -> tuple[Masked, int]:
        """Masked rows that fit the byte limit: the limit counts what leaves, not what was read."""
        most = min(decision.limits.max_bytes or MOST_BYTES, 2**26)
        while True:
            masked = await self._masker.mask(how, rows)
            if masked.failed:
                raise Refused("HOOP701", "The masking engine could not read a column; the rows were withheld.")
            if len(masked.body_rows) <= most:
                return masked, len(rows)
            rows = rows[: int(len(rows) * 0.9 * most / len(masked.body_rows))]
            if not rows:
                raise Refused("HOOP507", f"One row is larger than the limit of {most:,} bytes.")

    async def _explain(self, ask: RunSql, trail: Trail) -> Answer:
        principal = _known(trail.principal)
        database = self._analyst.database(ask.database)
        trail.database = database.name
        trail.mandate = mandate(principal, ask.role, ask.purpose)
        trail.statement = statement = _read(ask.sql)
        if statement.verb is Verb.WRITE:
            raise Refused("HOOP206", "Plans of writes are not served here.")
        async with self._analyst.resolve(database, statement, trail) as (lease, resolved, analysis):
            trail.decision = decision = self._analyst.decide(
                analysis, database, principal, trail.mandate, ask.reason
            ).decision
            await self._journal.record(trail.intent())
            # A plan over personal columns tells of their statistics: only where nothing personal steers it.
            lines: list[str] = []
            await lease.unchanged(resolved)
            if decision.effect is Effect.ALLOW and not analysis.probes and not analysis.lookups:
                lines = await lease.plan(resolved, ask.params)
        masked = await self._masker.mask(_PLAN_OF_PLANS, [(line,) for line in lines])
        body = orjson.dumps(
            {
                "status": "ok",
                "call_id": trail.call.call_id,
                "database": database.name,
                "verdict": decision.effect.name.lower(),
                "code": decision.code,
                "rules": decision.rules,
                "because": decision.because,
                "columns": _columns(analysis, decision, tuple(column.name for column in analysis.columns)),
                "probes": sorted(str(ref) for ref in analysis.probes),
                "plan": [line for (line,) in orjson.loads(masked.body_rows)],
            }
        )
        receipt = await self._journal.record(trail.outcome({"bytes": len(body)}, body))
        return Answer(trail.call.call_id, body, f"verdict: {decision.effect.name.lower()}", receipt)

    async def _describe(self, ask: ListDatabases | SearchSchema | DescribeTable | WhoAmI, trail: Trail) -> Answer:
        principal = _known(trail.principal)
        match ask:
            case SearchSchema() | DescribeTable():
                trail.database = self._analyst.database(ask.database).name
            case _:
                pass
        await self._journal.record(trail.intent())
        match ask:
            case ListDatabases():
                told = describing.databases(
                    {name: len(await self._open_relations(name, principal)) for name in self._analyst.databases}
                )
            case SearchSchema():
                name = self._analyst.database(ask.database).name
                told = describing.matches(
                    name, (await self._open_relations(name, principal)).values(), ask.pattern, ask.kind
                )
            case DescribeTable():
                name = self._analyst.database(ask.database).name
                told = describing.table(name, _find(ask.table, await self._open_relations(name, principal)))
            case WhoAmI():
                limits: dict[str, JsonValue] = {"default_rows": DEFAULT_ROWS, "timeout_ms": TIMEOUT_MS}
                told = describing.standing(principal, sorted(self._analyst.databases), limits, self._engine)
        body = orjson.dumps({**told, "call_id": trail.call.call_id})
        receipt = await self._journal.record(trail.outcome({"bytes": len(body)}, body))
        return Answer(trail.call.call_id, body, "ok", receipt)

    async def _open_relations(self, name: str, principal: Principal) -> dict[str, describing.DescribedRelation]:
        every = {relation.full_name: relation for relation in await self._analyst.database(name).describe()}
        catalogue = self._analyst.database(name).catalogue
        listed = [relation for relation in every if not catalogue.restricted(relation)]
        opened = reachable(self._policies, principal, name, listed)
        return {name: await self._commented(every[name]) for name in sorted(opened)}

    async def _commented(self, relation: describing.DescribedRelation) -> describing.DescribedRelation:
        """Comments are text somebody typed: they pass the masker like any cell."""
        texts = [relation.comment, *(column.comment for column in relation.columns)]
        if not any(texts):
            return relation
        masked = await self._masker.mask(_PLAN_OF_PLANS, [(text,) for text in texts])
        safe = [line for (line,) in orjson.loads(masked.body_rows)]
        return describing.with_comments(relation, safe[0], safe[1:])

    # -- the exits

    async def _refuse(self, trail: Trail, refused: Refused, started: float) -> Refusal:
        try:
            await self._journal.record(trail.refusal(refused, _since(started)))
        except JournalUnavailable:
            return _refusal(trail, _journal_down())
        return _refusal(trail, refused)

    def _tell_later(self, event: Event) -> None:
        task = asyncio.get_running_loop().create_task(_recorded(self._journal, event))
        self._telling.add(task)
        task.add_done_callback(self._heard)

    def _heard(self, task: asyncio.Task[Receipt]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # a journal that is down has already closed the gate; nothing more can be told

    async def close(self) -> None:
        """Wait until everything there was to tell is told."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=5)


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


def _row_limit(asked: int | None, decision: Decision) -> int:
    most = decision.limits.max_rows or MOST_ROWS
    return min(asked if asked is not None else DEFAULT_ROWS, most)


def _answer(
    trail: Trail, analysis: Analysis, decision: Decision, masked: Masked, rows: int, *, truncated: bool
) -> bytes:
    return orjson.dumps(
        {
            "status": "ok",
            "call_id": trail.call.call_id,
            "database": trail.database,
            "columns": _columns(analysis, decision, masked.names),
            "rows": orjson.Fragment(masked.body_rows),
            "row_count": rows,
            "truncated": truncated,
            "notices": _notices(decision, masked, rows, truncated=truncated),
        }
    )


def _columns(analysis: Analysis, decision: Decision, names: Sequence[str]) -> list[dict[str, JsonValue]]:
    told: list[dict[str, JsonValue]] = []
    masks = decision.masks or (None,) * len(analysis.columns)
    for name, column, mask in zip(names, analysis.columns, masks, strict=True):
        told.append(
            {
                "name": name,
                "type": column.type_name,
                "category": mask.category if mask else None,
                "mask": mask.operator.name.lower() if mask else None,
            }
        )
    return told


def _notices(decision: Decision, masked: Masked, rows: int, *, truncated: bool) -> list[str]:
    notices: list[str] = []
    by_rule: dict[str | None, int] = {}
    for mask in decision.masks:
        if mask is not None and mask.operator is not Operator.KEEP:
            by_rule[mask.rule] = by_rule.get(mask.rule, 0) + 1
    because = dict(zip(decision.rules, decision.because, strict=False))
    for rule, count in by_rule.items():
        why = f"by rule {rule}: {because[rule]}" if rule in because else "because no rule keeps its category"
        notices.append(f"{count} of {len(decision.masks)} columns {'is' if count == 1 else 'are'} masked {why}")
    found = sum(count.cells for count in masked.counts if _detected(decision, count.column))
    if found:
        notices.append(
            f"{found} further cells held what looks personal; placeholders such as [EMAIL_ADDRESS] stand there"
        )
    if truncated:
        notices.append(f"There are more than these {rows} rows. Narrow the statement, or ask for more with max_rows.")
    return notices


def _detected(decision: Decision, place: int) -> bool:
    """Whether what was masked in a column was found by value, not traced to the catalogue."""
    mask = decision.masks[place] if place < len(decision.masks) else None
    return mask is None or mask.operator is Operator.KEEP


def _summary(rows: int, decision: Decision) -> str:
    masked = sum(1 for mask in decision.masks if mask is not None and mask.operator is not Operator.KEEP)
    return f"{rows} rows, {masked} of {len(decision.masks)} columns masked"


def _find(name: str, relations: Mapping[str, describing.DescribedRelation]) -> describing.DescribedRelation:
    if name in relations:
        return relations[name]
    found = [relation for relation in relations.values() if relation.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused("HOOP105", "Several open tables have that name.", "Pass the table as schema.table.")
    raise Refused("HOOP209", "No open table has that name.")


def _known(principal: Principal | None) -> Principal:
    if principal is None:
        raise Refused("HOOP101", "Nobody was identified.")
    return principal


def _refusal(trail: Trail, refused: Refused) -> Refusal:
    return Refusal(trail.call.call_id, refused.code, refused.reason, refused.instead)


def _journal_down() -> Refused:
    return Refused("HOOP601", "The journal cannot record this call, so it was not carried out.")


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


def _recorded(journal: Journal, event: Event) -> Coroutine[None, None, Receipt]:
    return journal.record(event)


_PLAN_OF_PLANS = plan((OutputColumn("text", "text"),), (None,))
