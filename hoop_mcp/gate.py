"""The enforcement point: the one place that knows the order of a call.

1. **identify** the caller: no principal, no call.
2. **read** the statement offline: what this reader cannot read, the database never sees.
3. **resolve** it with PostgreSQL: Parse, unexecuted; both trees and the facts they need.
4. **trace** every catalogued column: shown, probe, or lookup.
5. **decide**: policy and facts to one Decision.
6. **journal the intent**, durably, before anything runs and once the caller's budgets have room for it.
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
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import orjson

from hoop_mcp.analyst import TIMEOUT_MS, Analyst, one_column, one_no, only_judged, only_reads, refused_by
from hoop_mcp.answering import MOST_ROWS, answer_body, described_columns, limit_notices, plan_notices, summary
from hoop_mcp.errors import JournalUnavailable, Refused
from hoop_mcp.identity.local import mandate
from hoop_mcp.journal.telling import Trail
from hoop_mcp.limits.allowance import Allowance
from hoop_mcp.limits.sieve import sieve_for
from hoop_mcp.masking.plan import MaskPlan, plan
from hoop_mcp.policy.reach import reachable, standing_masks
from hoop_mcp.sql.plans import MOST_LINES, plan_form, told
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import (
    Answer,
    Decision,
    DescribeTable,
    Effect,
    Explain,
    ListDatabases,
    Malformed,
    OutputColumn,
    Refusal,
    RunSql,
    SearchSchema,
    Show,
    Statement,
    WhoAmI,
)
from hoop_mcp.tools import describing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from datetime import datetime

    from hoop_mcp.analyst import Database, Lease
    from hoop_mcp.masking.apply import Masked
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.sql.plans import PlanForm
    from hoop_mcp.sql.resolved import Resolved
    from hoop_mcp.terms import Analysis, Credential, Event, JsonValue, Outcome, Principal, Receipt, Request, ToolCall

DEFAULT_ROWS = 200
MOST_BYTES = 256_000


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
        reading: Callable[[str], Awaitable[Request]],
        allowance: Allowance | None = None,
    ) -> None:
        self._identify = identify
        self._allowance = allowance or Allowance()
        self._reading = reading
        self._analyst = Analyst(databases, policies, now, self._allowance.parsing)
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
            trail.principal = principal = self._identify(call.credential)
            async with self._allowance.turn(principal.ident):
                match call.ask:
                    case Malformed() as ask:
                        raise Refused(ask.code, ask.reason, ask.instead)
                    case RunSql(tool="explain") as ask:
                        return await self._explain(ask, trail)
                    case RunSql() as ask:
                        return await self._answer_again(ask, trail, started)
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

    async def _answer_again(self, ask: RunSql, trail: Trail, started: float) -> Answer:
        """The line, and once more from its start if the statement was analysed anew while it ran.

        PostgreSQL does that after ANALYZE too, which changes nothing that matters. Nothing of the first attempt is used:
        the rows were withheld, its end is journaled, and the second has an intent of its own.
        """
        try:
            return await self._answer(ask, trail)
        except Refused as refused:
            if refused.code != "HOOP505":
                raise
            await self._journal.record(trail.refusal(refused, _since(started)))
            trail.again()
        return await self._answer(ask, trail)

    async def _asked(self, ask: RunSql, trail: Trail) -> tuple[Principal, Database, Request]:
        """Who asks, of which database, and what: the call as far as it can be known offline."""
        principal = _known(trail.principal)
        database = self._analyst.database(ask.database)
        trail.database = database.name
        trail.mandate = mandate(principal, ask.role, ask.purpose)
        trail.request = request = await self._reading(ask.sql)
        only_reads(request, ask.tool)
        return principal, database, request

    async def _answer(self, ask: RunSql, trail: Trail) -> Answer:
        """What the text asks for: rows, a plan, or a setting. All three take the line."""
        principal, database, request = await self._asked(ask, trail)
        match request:
            case Statement():
                return await self._query(ask, trail, principal, database, request)
            case Explain():
                return await self._plan(ask, trail, principal, database, request)
            case Show():
                return await self._show(ask, trail, principal, database, request)

    async def _query(
        self, ask: RunSql, trail: Trail, principal: Principal, database: Database, statement: Statement
    ) -> Answer:
        started = time.perf_counter()
        async with self._analyst.resolve(database, statement, trail) as (lease, resolved, analysis):
            decision = self._analyst.decide_again(resolved, database, principal, trail.standing, ask.reason)
            trail.decision = decision
            if decision.effect is not Effect.ALLOW:
                await lease.doubt(resolved)
                raise refused_by(decision)
            sieve = sieve_for(analysis, decision)
            how = plan(analysis.columns, decision.masks)
            limit = _row_limit(ask.max_rows, decision)
            with self._allowance.spending(principal.ident, analysis, decision, limit) as spending:
                await self._journal.record(trail.intent())
                with one_no(analysis):
                    async with asyncio.timeout((decision.limits.timeout_ms or TIMEOUT_MS) / 1000 + 1):
                        rows = await lease.execute(resolved, ask.params, spending.rows + 1, sieve)
                masked, _ = await asyncio.gather(
                    self._mask(how, rows[: spending.rows], decision), lease.unchanged(resolved)
                )
                shown, rows_shown = masked
                spending.answered(rows_shown)
        body = answer_body(
            trail.call.call_id,
            database.name,
            analysis,
            decision,
            shown,
            rows_shown,
            truncated=rows_shown < len(rows),
            further=limit_notices(sieve, limit, spending.rows),
            asked=spending.rows,
        )
        figures = _figures(body, shown, rows_shown, truncated=rows_shown < len(rows), started=started)
        if sieve is not None:
            figures["withheld"] = sieve.withheld
        receipt = await self._journal.record(trail.outcome(figures, body))
        return Answer(trail.call.call_id, body, summary(rows_shown, decision), receipt)

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

    async def _plan(
        self, ask: RunSql, trail: Trail, principal: Principal, database: Database, request: Explain
    ) -> Answer:
        """EXPLAIN: the statement behind it is judged as if it came alone, and then planned instead of fetched."""
        started = time.perf_counter()
        async with self._analyst.resolve(database, request.statement, trail) as (lease, resolved, analysis):
            decision = self._analyst.decide_again(resolved, database, principal, trail.standing, ask.reason)
            trail.decision = decision
            if decision.effect is not Effect.ALLOW:
                await lease.doubt(resolved)
                raise refused_by(decision)
            form = plan_form(analysis, decision.limits, analyze=request.analyze)
            await self._journal.record(trail.intent())
            lines = await _planned(lease, resolved, analysis, decision, ask, form)
            await lease.unchanged(resolved)
        return await self._text(trail, decision, "QUERY PLAN", lines, plan_notices(form, request.omitted), started)

    async def _show(self, ask: RunSql, trail: Trail, principal: Principal, database: Database, request: Show) -> Answer:
        """SHOW: decided as a read that reaches no table, and asked of the clean login."""
        started = time.perf_counter()
        trail.analysis = analysis = one_column(request.setting)
        trail.decision = decision = self._analyst.decide(
            analysis, database, principal, trail.standing, ask.reason
        ).decision
        if decision.effect is not Effect.ALLOW:
            raise refused_by(decision)
        trail.login = Login.CLEAN
        await self._journal.record(trail.intent())
        async with database.lease(Login.CLEAN) as lease, asyncio.timeout(TIMEOUT_MS / 1000 + 1):
            value = await lease.show(request.setting, TIMEOUT_MS)
        return await self._text(trail, decision, request.setting, [value], (), started)

    async def _text(
        self, trail: Trail, decision: Decision, name: str, lines: Sequence[str], notices: Sequence[str], started: float
    ) -> Answer:
        """Steps 9 to 11 for what is not a table's: one column of text, which passes the masker like any."""
        analysis, decision = one_column(name), replace(decision, masks=(None,))
        shown, rows_shown = await self._mask(plan(analysis.columns, (None,)), [(line,) for line in lines], decision)
        truncated = rows_shown < len(lines) or len(lines) >= MOST_LINES
        body = answer_body(
            trail.call.call_id,
            trail.database or "",
            analysis,
            decision,
            shown,
            rows_shown,
            truncated=truncated,
            further=notices,
        )
        figures = _figures(body, shown, rows_shown, truncated=truncated, started=started)
        receipt = await self._journal.record(trail.outcome(figures, body))
        return Answer(trail.call.call_id, body, f"{rows_shown} lines", receipt)

    async def _explain(self, ask: RunSql, trail: Trail) -> Answer:
        """The explain tool: the verdict whatever it is, and the plan where EXPLAIN through query would tell it."""
        principal, database, request = await self._asked(ask, trail)
        statement, omitted = only_judged(request)
        async with self._analyst.resolve(database, statement, trail) as (lease, resolved, analysis):
            trail.decision = decision = self._analyst.decide(
                analysis, database, principal, trail.standing, ask.reason
            ).decision
            await self._journal.record(trail.intent())
            lines: list[str] = []
            notices: Sequence[str] = ()
            if decision.effect is Effect.ALLOW:
                try:
                    form = plan_form(analysis, decision.limits, analyze=False)
                except Refused as untold:
                    notices = (untold.reason,)
                else:
                    lines = await _planned(lease, resolved, analysis, decision, ask, form)
                    notices = plan_notices(form, omitted)
            await lease.unchanged(resolved)
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
                "instead": decision.instead,
                "columns": described_columns(analysis, decision, tuple(column.name for column in analysis.columns)),
                "probes": sorted(str(ref) for ref in analysis.probes),
                "plan": [line for (line,) in orjson.loads(masked.body_rows)],
                "notices": notices,
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
                opened = await self._open_relations(name, principal)
                found = _find(ask.table, opened)
                categories = {column.category for column in found.columns if column.category} - {"none"}
                masks = standing_masks(self._policies, principal, name, found.full_name, categories)
                told = describing.table(name, found, masks, opened)
            case WhoAmI():
                left = self._allowance.left(principal.ident, self._policies.budgets_of(principal))
                limits: dict[str, JsonValue] = {"default_rows": DEFAULT_ROWS, "timeout_ms": TIMEOUT_MS, "left": left}
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


async def _planned(
    lease: Lease, resolved: Resolved, analysis: Analysis, decision: Decision, ask: RunSql, form: PlanForm
) -> list[str]:
    """The lines of a plan that may be told; planning folds constants and runs stable functions, so it is bounded."""
    with one_no(analysis):
        async with asyncio.timeout((decision.limits.timeout_ms or TIMEOUT_MS) / 1000 + 1):
            return told(form, await lease.plan(resolved, ask.params, form))


def _figures(body: bytes, shown: Masked, rows: int, *, truncated: bool, started: float) -> dict[str, JsonValue]:
    """What the journal keeps of an answer in clear: counts and sizes."""
    return {
        "rows": rows,
        "bytes": len(body),
        "truncated": truncated,
        "masked": [list(count) for count in shown.counts],
        "ms": _since(started),
    }


def _row_limit(asked: int | None, decision: Decision) -> int:
    most = decision.limits.max_rows or MOST_ROWS
    return min(asked if asked is not None else DEFAULT_ROWS, most)


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
