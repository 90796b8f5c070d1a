"""The order of a call, pinned; and that every way out is a refusal which ran nothing more."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from hoop_mcp.errors import JournalUnavailable, Refused
from hoop_mcp.gate import Gate
from hoop_mcp.masking.apply import Masked
from hoop_mcp.policy.rules import MaskChoice, Policy, PolicySet, Rule, When
from hoop_mcp.sql.catalogue import Catalogue, Category, Classification
from hoop_mcp.sql.plans import PlanForm
from hoop_mcp.sql.requests import read_request
from hoop_mcp.sql.resolved import Login, Resolved
from hoop_mcp.terms import (
    Analysis,
    Answer,
    ColumnRef,
    Credential,
    Effect,
    ListDatabases,
    Malformed,
    Operator,
    OutputColumn,
    Principal,
    Receipt,
    Refusal,
    RunSql,
    ToolCall,
    Verb,
    WhoAmI,
)

EMAIL = ColumnRef("public", "customers", "email")
CATALOGUE = Catalogue(
    "shop",
    {EMAIL: Classification("contact", "EMAIL_ADDRESS"), ColumnRef("public", "customers", "id"): Classification("none")},
    (Category("contact", ("customers",)),),
)
RAW = "ingrid@example.com"


def policies(*, then=Effect.ALLOW, mode_masks=()):
    rule = Rule(
        id="read",
        when=When(kind=frozenset({Verb.READ}), only_tables=frozenset({"public.customers"})),
        then=then,
        because="Answering a ticket needs it.",
        masks=mode_masks,
    )
    scope = {"databases": frozenset({"shop"}), "roles": frozenset({"agent"}), "purposes": frozenset({"support"})}
    return PolicySet.of([Policy(name="p", owner="o", rules=(rule,), **scope)])


async def read_here(sql):
    return read_request(sql)


class Rehearsal:
    """Plays every part but the gate's, and writes down who was called in which order."""

    def __init__(self, *, analysis=None, rows=((RAW,),), **breaks):
        self.steps = []
        self.events = []
        self.breaks = breaks
        self.rows = rows
        self.analysis = analysis or Analysis(
            verb=Verb.READ,
            columns=(OutputColumn("email", "text", frozenset({EMAIL})),),
            probes=frozenset(),
            lookups=frozenset(),
            relations=frozenset({"public.customers"}),
            behind=frozenset(),
            functions=frozenset(),
        )

    name = "shop"
    catalogue = CATALOGUE

    def _step(self, name):
        self.steps.append(name)
        if error := self.breaks.get(name.replace(" ", "_")):
            raise error

    # the journal
    async def record(self, event):
        self._step(event.kind.value)
        self.events.append(event)
        return Receipt(len(self.events), "leaf", len(self.events) + 1)

    # the masker
    async def mask(self, plan, rows, *, timeout_s=None):
        self._step("mask")
        return Masked(orjson.dumps([["[EMAIL_ADDRESS]"] for _ in rows]), tuple(c.name for c in plan.columns))

    # the database
    @asynccontextmanager
    async def lease(self, login):
        self._step(f"lease {login.value}")
        self.login = login
        yield self
        self.steps.append("released")

    async def resolve(self, statement, timeout_ms):
        self._step("resolve")
        return Resolved(
            statement,
            self.login,
            None,
            None,
            (("email", "text"),),
            (),
            frozenset({"customers", "email"}),
            _analysis=self.analysis,
        )

    async def execute(self, resolved, parameters, limit, wanted=None):
        self._step("execute")
        if wait := self.breaks.get("hang"):
            await wait
        return list(self.rows)[:limit]

    async def plan(self, resolved, parameters, form):
        self._step(f"plan {form.name.lower()}")
        return ["Seq Scan on customers"] if form is not PlanForm.OUTLINE else ['[{"Plan": {"Node Type": "Seq Scan"}}]']

    async def show(self, setting, timeout_ms):
        self._step(f"show {setting}")
        return "UTC"

    async def doubt(self, resolved):
        self._step("doubt")

    async def unchanged(self, resolved):
        self._step("unchanged")

    async def describe(self):
        self._step("describe")
        return []

    def gate(self, policy_set=None):
        return Gate(
            identify=self.identify,
            databases={"shop": self},
            policies=policy_set or policies(),
            journal=self,
            masker=self,
            now=lambda: datetime(2026, 11, 24, tzinfo=UTC),
            engine="none",
            reading=read_here,
        )

    def identify(self, credential):
        self._step("identify")
        return Principal("local:x", "agent", ("agent",), ("support",), credential.session)

    async def ask(self, sql="SELECT email FROM customers", policy_set=None, **more):
        call = ToolCall("c1", Credential("stdio", "s1", os_user="x"), RunSql("query", sql, **more))
        gate = self.gate(policy_set)
        outcome = await gate.handle(call)
        await gate.close()
        return outcome


@pytest.mark.anyio
async def test_an_allowed_call_takes_every_step_in_the_documented_order():
    rehearsal = Rehearsal()
    outcome = await rehearsal.ask()
    assert rehearsal.steps == [
        "identify", "lease full", "resolve", "intent", "execute", "mask", "unchanged", "released", "outcome",
    ]  # fmt: skip
    assert isinstance(outcome, Answer)
    body = json.loads(outcome.body)
    assert body["rows"] == [["[EMAIL_ADDRESS]"]]
    assert body["columns"] == [{"name": "email", "type": "text", "category": "contact", "mask": "redact"}]
    assert RAW not in outcome.body.decode()


@pytest.mark.anyio
@pytest.mark.parametrize("then", [Effect.DENY, Effect.HOLD])
async def test_a_denied_or_held_call_never_executes_and_is_journaled(then):
    rehearsal = Rehearsal()
    outcome = await rehearsal.ask(policy_set=policies(then=then))
    assert isinstance(outcome, Refusal)
    assert outcome.code.startswith("HOOP3")
    assert outcome.instead
    assert "execute" not in rehearsal.steps
    assert "intent" not in rehearsal.steps
    assert rehearsal.steps[-1] == "refusal"


@pytest.mark.anyio
async def test_nothing_executes_when_the_intent_cannot_be_recorded():
    rehearsal = Rehearsal(intent=JournalUnavailable("disk full"))
    outcome = await rehearsal.ask()
    assert isinstance(outcome, Refusal)
    assert outcome.code == "HOOP601"
    assert "execute" not in rehearsal.steps


@pytest.mark.anyio
async def test_nothing_is_answered_when_the_outcome_cannot_be_recorded():
    rehearsal = Rehearsal(outcome=JournalUnavailable("disk full"))
    outcome = await rehearsal.ask()
    assert isinstance(outcome, Refusal)
    assert outcome.code == "HOOP601"


@pytest.mark.anyio
async def test_a_refusal_that_cannot_be_recorded_is_still_a_refusal():
    rehearsal = Rehearsal(refusal=JournalUnavailable("disk full"))
    outcome = await rehearsal.ask(policy_set=policies(then=Effect.DENY))
    assert isinstance(outcome, Refusal)
    assert outcome.code == "HOOP601"


@pytest.mark.anyio
@pytest.mark.parametrize("step", ["identify", "resolve", "execute", "mask", "unchanged", "lease_full"])
@pytest.mark.parametrize("error", [RuntimeError(f"value {RAW}"), Refused("HOOP505", "It changed.")])
async def test_an_error_at_any_step_is_a_journaled_refusal_that_reveals_nothing(step, error):
    rehearsal = Rehearsal(**{step: error})
    outcome = await rehearsal.ask()
    assert isinstance(outcome, Refusal)
    assert outcome.code == ("HOOP505" if isinstance(error, Refused) else "HOOP199")
    assert RAW not in str(outcome)
    last = rehearsal.events[-1]
    assert last.clear["result"]["code"] == outcome.code
    assert last.kind.value == ("outcome" if "intent" in rehearsal.steps else "refusal")


@pytest.mark.anyio
async def test_rows_are_withheld_when_the_catalogs_changed_meanwhile():
    rehearsal = Rehearsal(unchanged=Refused("HOOP505", "It changed."))
    outcome = await rehearsal.ask()
    assert isinstance(outcome, Refusal)
    assert not [event for event in rehearsal.events if event.kind.value == "outcome" and "answer" not in event.sealed]


@pytest.mark.anyio
async def test_a_statement_analysed_anew_is_carried_out_once_more_from_the_start():
    class ChangesOnce(Rehearsal):
        async def execute(self, resolved, parameters, limit, wanted=None):
            self._step("execute")
            if self.steps.count("execute") == 1:
                raise Refused("HOOP505", "It changed.")
            return list(self.rows)

    rehearsal = ChangesOnce()
    assert isinstance(await rehearsal.ask(), Answer)
    assert [event.kind.value for event in rehearsal.events] == ["intent", "outcome", "intent", "outcome"]
    assert rehearsal.events[1].clear["result"]["code"] == "HOOP505"
    assert rehearsal.steps.count("resolve") == 2


@pytest.mark.anyio
async def test_a_statement_that_keeps_changing_is_refused():
    rehearsal = Rehearsal(execute=Refused("HOOP505", "It changed."))
    outcome = await rehearsal.ask()
    assert outcome.code == "HOOP505"
    assert rehearsal.steps.count("execute") == 2


@pytest.mark.anyio
async def test_a_column_the_masker_gave_up_on_withholds_the_answer():
    class GivesUp(Rehearsal):
        async def mask(self, plan, rows, *, timeout_s=None):
            return Masked(b"[[null]]", ("email",), (), failed=(0,))

    outcome = await GivesUp().ask()
    assert isinstance(outcome, Refusal)
    assert outcome.code == "HOOP701"


@pytest.mark.anyio
async def test_what_touches_nothing_personal_changes_over_to_the_clean_login():
    clean = Analysis(
        verb=Verb.READ,
        columns=(OutputColumn("email", "text"),),
        probes=frozenset(),
        lookups=frozenset(),
        relations=frozenset({"public.customers"}),
        behind=frozenset(),
        functions=frozenset(),
    )
    rehearsal = Rehearsal(analysis=clean)
    assert isinstance(await rehearsal.ask(), Answer)
    leases = [step for step in rehearsal.steps if step.startswith("lease")]
    assert leases == ["lease full", "lease clean"]
    assert rehearsal.steps.index("execute") > rehearsal.steps.index("lease clean")
    assert rehearsal.login is Login.CLEAN


LIMITS_MET = [
    TimeoutError(),
    Refused("HOOP502", "The statement ran into its time limit."),
    Refused("HOOP502", "A table is locked by somebody else just now."),
    Refused("HOOP507", "The rows hold more than this gateway reads for one answer."),
]


@pytest.mark.anyio
async def test_over_personal_data_every_limit_is_the_same_no_and_the_journal_keeps_which():
    told, kept = set(), set()
    for limit in LIMITS_MET:
        rehearsal = Rehearsal(execute=limit)
        told.add(str(await rehearsal.ask()))
        kept.add(rehearsal.events[-1].clear["result"]["cause"])
    assert len(told) == 1
    assert len(kept) == 3  # a timeout of the server and one of ours are one cause


@pytest.mark.anyio
async def test_over_clean_data_the_limits_are_told_apart():
    clean = Analysis(
        verb=Verb.READ,
        columns=(OutputColumn("id", "int4"),),
        probes=frozenset(),
        lookups=frozenset(),
        relations=frozenset({"public.customers"}),
        behind=frozenset(),
        functions=frozenset(),
    )
    assert len({str(await Rehearsal(execute=limit, analysis=clean).ask()) for limit in LIMITS_MET}) == 3


@pytest.mark.anyio
async def test_cancelling_is_raised_through_and_journaled():
    never = asyncio.get_running_loop().create_future()
    rehearsal = Rehearsal(hang=never)
    gate = rehearsal.gate()
    call = ToolCall("c1", Credential("stdio", "s1", os_user="x"), RunSql("query", "SELECT email FROM customers"))
    task = asyncio.create_task(gate.handle(call))
    async with asyncio.timeout(5):
        while "execute" not in rehearsal.steps:
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gate.close()
    assert rehearsal.events[-1].kind.value == "outcome"
    assert rehearsal.events[-1].clear["result"]["code"] == "HOOP109"


@pytest.mark.anyio
async def test_a_write_never_reaches_the_database():
    rehearsal = Rehearsal()
    outcome = await rehearsal.ask("DELETE FROM customers WHERE id = 1")
    assert outcome.code == "HOOP206"
    assert rehearsal.steps == ["identify", "refusal"]


@pytest.mark.anyio
async def test_the_clear_part_of_every_entry_holds_no_literal_no_alias_and_no_reason():
    secrets = ["ana@x.de", "ana_doe_alias", "because of Ana"]
    rehearsal = Rehearsal()
    await rehearsal.ask(
        f"SELECT email AS {secrets[1]} FROM customers WHERE id = $1 -- {secrets[0]}",
        params=(secrets[0],),
        reason=secrets[2],
    )
    for event in rehearsal.events:
        clear = json.dumps(dict(event.clear))
        assert not [secret for secret in secrets if secret in clear]
    sealed = b"".join(part for event in rehearsal.events for part in event.sealed.values()).decode()
    assert all(secret in sealed for secret in secrets)


@pytest.mark.anyio
async def test_the_answer_is_sealed_byte_for_byte_as_it_was_sent():
    rehearsal = Rehearsal()
    outcome = await rehearsal.ask()
    assert rehearsal.events[-1].sealed["answer"] == outcome.body


@pytest.mark.anyio
async def test_more_rows_than_asked_for_are_cut_and_said():
    rehearsal = Rehearsal(rows=[(RAW,)] * 5)
    outcome = await rehearsal.ask(max_rows=3)
    body = json.loads(outcome.body)
    assert body["row_count"] == 3
    assert body["truncated"] is True
    assert "max_rows" in " ".join(body["notices"])


@pytest.mark.anyio
async def test_an_answer_over_the_byte_limit_is_cut_to_rows_that_fit():
    class Wide(Rehearsal):
        async def mask(self, plan, rows, *, timeout_s=None):
            return Masked(orjson.dumps([["x" * 100_000] for _ in rows]), ("email",))

    body = json.loads((await Wide(rows=[(RAW,)] * 5).ask()).body)
    assert 0 < body["row_count"] < 5
    assert body["truncated"] is True


@pytest.mark.anyio
async def test_describing_tools_are_journaled_like_any_call():
    for ask in (ListDatabases(), WhoAmI()):
        rehearsal = Rehearsal()
        outcome = await rehearsal.gate().handle(ToolCall("c1", Credential("stdio", "s", os_user="x"), ask))
        assert isinstance(outcome, Answer)
        assert [event.kind.value for event in rehearsal.events] == ["intent", "outcome"]


@pytest.mark.anyio
async def test_a_call_whose_arguments_are_of_no_use_is_refused_and_journaled():
    rehearsal = Rehearsal()
    ask = Malformed("unknown", "HOOP105", "There is no such tool.", "Use another.")
    outcome = await rehearsal.gate().handle(ToolCall("c1", Credential("stdio", "s", os_user="x"), ask))
    assert str(outcome) == "HOOP105: There is no such tool. Use another."
    assert rehearsal.steps == ["identify", "refusal"]


@pytest.mark.anyio
async def test_explain_runs_nothing():
    rehearsal = Rehearsal()
    call = ToolCall("c1", Credential("stdio", "s", os_user="x"), RunSql("explain", "SELECT email FROM customers"))
    outcome = await rehearsal.gate().handle(call)
    assert json.loads(outcome.body)["verdict"] == "allow"
    assert "execute" not in rehearsal.steps


@pytest.mark.anyio
async def test_a_kept_mask_is_told_as_kept():
    kept = policies(mode_masks=(MaskChoice("contact", Operator.KEEP),))
    body = json.loads((await Rehearsal().ask(policy_set=kept)).body)
    assert body["columns"][0]["mask"] == "keep"


# -- EXPLAIN and SHOW


def clean_analysis(**more):
    nothing = frozenset()
    clean = Analysis(
        verb=Verb.READ,
        columns=(OutputColumn("id", "int4"),),
        probes=nothing,
        lookups=nothing,
        relations=frozenset({"public.customers"}),
        behind=nothing,
        functions=nothing,
        unnamed=False,
    )
    return replace(clean, **more)


def showing():
    rule = Rule(
        id="bare",
        when=When(kind=frozenset({Verb.READ}), no_tables=True),
        then=Effect.ALLOW,
        because="It reaches no table.",
    )
    scope = {"databases": frozenset({"shop"}), "roles": frozenset({"agent"}), "purposes": frozenset({"support"})}
    return PolicySet.of([Policy(name="p", owner="o", rules=(rule,), **scope)])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sql", "form"),
    [
        ("EXPLAIN SELECT id FROM customers", "whole"),
        ("EXPLAIN (ANALYZE, BUFFERS) SELECT id FROM customers", "measured"),
    ],
)
async def test_an_explained_statement_takes_every_step_of_a_read(sql, form):
    rehearsal = Rehearsal(analysis=clean_analysis())
    body = json.loads((await rehearsal.ask(sql)).body)
    assert rehearsal.steps == [
        "identify", "lease clean", "resolve", "intent", f"plan {form}", "unchanged", "released", "mask", "outcome",
    ]  # fmt: skip
    assert body["columns"] == [{"name": "QUERY PLAN", "type": "text", "category": None, "mask": None}]
    assert body["row_count"] == 1
    assert "costs" in body["notices"][0]
    assert ("BUFFERS" in " ".join(body["notices"][1:])) is (form == "measured")
    assert (
        rehearsal.events[0].clear["statement"].startswith("EXPLAIN ANALYZE" if form == "measured" else "EXPLAIN SELECT")
    )


@pytest.mark.anyio
async def test_an_explained_statement_is_denied_and_held_as_if_it_came_alone():
    for then in (Effect.DENY, Effect.HOLD):
        alone, explained = Rehearsal(), Rehearsal()
        told = await alone.ask(policy_set=policies(then=then))
        assert str(await explained.ask("EXPLAIN SELECT email FROM customers", policies(then=then))) == str(told)
        assert explained.steps == alone.steps


@pytest.mark.anyio
async def test_a_plan_that_would_tell_is_refused_before_the_intent():
    for sql, analysis in (
        ("EXPLAIN SELECT id FROM customers", clean_analysis(lookups=frozenset({EMAIL}))),
        ("EXPLAIN ANALYZE SELECT email FROM customers", None),
    ):
        rehearsal = Rehearsal(analysis=analysis)
        outcome = await rehearsal.ask(sql, lookups_allowed())
        assert outcome.code == "HOOP219", sql
        assert not [step for step in rehearsal.steps if step.startswith(("plan", "intent"))]


def lookups_allowed():
    rule = Rule(
        id="read",
        when=When(only_tables=frozenset({"public.customers"}), probes_any=frozenset({"contact"})),
        then=Effect.ALLOW,
        because="It is needed.",
    )
    rules = (rule, replace(rule, id="plain", when=replace(rule.when, probes_any=None)))
    scope = {"databases": frozenset({"shop"}), "roles": frozenset({"agent"}), "purposes": frozenset({"support"})}
    return PolicySet.of([Policy(name="p", owner="o", rules=rules, **scope)])


@pytest.mark.anyio
async def test_a_write_behind_explain_never_reaches_the_database():
    for sql in ("EXPLAIN DELETE FROM customers", "EXPLAIN ANALYZE DELETE FROM customers"):
        rehearsal = Rehearsal()
        assert (await rehearsal.ask(sql)).code == "HOOP206"
        assert rehearsal.steps == ["identify", "refusal"]


@pytest.mark.anyio
async def test_a_plan_of_what_changed_meanwhile_is_withheld():
    rehearsal = Rehearsal(analysis=clean_analysis(), unchanged=Refused("HOOP505", "It changed."))
    outcome = await rehearsal.ask("EXPLAIN SELECT id FROM customers")
    assert outcome.code == "HOOP505"
    assert rehearsal.steps.count("plan whole") == 2


@pytest.mark.anyio
async def test_lines_of_a_plan_pass_the_masker():
    rehearsal = Rehearsal(analysis=clean_analysis())
    body = json.loads((await rehearsal.ask("EXPLAIN SELECT id FROM customers")).body)
    assert body["rows"] == [["[EMAIL_ADDRESS]"]]  # what this masker makes of anything


@pytest.mark.anyio
async def test_the_explain_tool_takes_explain_itself_and_runs_nothing():
    async def explain(sql, analysis):
        rehearsal = Rehearsal(analysis=analysis)
        call = ToolCall("c1", Credential("stdio", "s", os_user="x"), RunSql("explain", sql))
        return rehearsal, await rehearsal.gate().handle(call)

    plain, first = await explain("SELECT id FROM customers", clean_analysis())
    itself, second = await explain("EXPLAIN SELECT id FROM customers", clean_analysis())
    assert first.body == second.body
    assert plain.steps == itself.steps
    _, outlined = await explain("EXPLAIN (FORMAT XML) SELECT id FROM customers", clean_analysis(unnamed=True))
    assert "FORMAT XML" in " ".join(json.loads(outlined.body)["notices"])
    for sql, code in (
        ("EXPLAIN ANALYZE SELECT 1", "HOOP205"),
        ("SHOW TimeZone", "HOOP205"),
        ("DELETE FROM t", "HOOP206"),
    ):
        rehearsal, outcome = await explain(sql, clean_analysis())
        assert outcome.code == code
        assert rehearsal.steps == ["identify", "refusal"]


@pytest.mark.anyio
async def test_the_explain_tool_says_why_there_is_no_plan():
    rehearsal = Rehearsal(analysis=clean_analysis(lookups=frozenset({EMAIL})))
    call = ToolCall("c1", Credential("stdio", "s", os_user="x"), RunSql("explain", "SELECT id FROM customers"))
    body = json.loads((await rehearsal.gate(lookups_allowed()).handle(call)).body)
    assert body["verdict"] == "allow"
    assert body["plan"] == []
    assert "statistics" in body["notices"][0]


@pytest.mark.anyio
async def test_a_setting_is_shown_on_the_clean_login_between_intent_and_outcome():
    rehearsal = Rehearsal()
    body = json.loads((await rehearsal.ask("show time zone", showing())).body)
    assert rehearsal.steps == [
        "identify", "intent", "lease clean", "show TimeZone", "released", "mask", "outcome",
    ]  # fmt: skip
    assert body["columns"][0]["name"] == "TimeZone"
    assert rehearsal.events[0].clear["statement"] == "SHOW TimeZone"
    assert rehearsal.events[0].clear["login"] == "clean"


@pytest.mark.anyio
async def test_a_setting_is_shown_only_where_a_rule_opens_statements_without_tables():
    rehearsal = Rehearsal()
    outcome = await rehearsal.ask("SHOW TimeZone")
    assert outcome.code == "HOOP301"
    assert rehearsal.steps == ["identify", "refusal"]
    down = Rehearsal(intent=JournalUnavailable("disk full"))
    assert (await down.ask("SHOW TimeZone", showing())).code == "HOOP601"
    assert down.steps == ["identify", "intent"]


@pytest.mark.anyio
async def test_row_locks_are_held_and_never_run():
    for sql in ("SELECT id FROM customers FOR UPDATE", "EXPLAIN ANALYZE SELECT id FROM customers FOR SHARE"):
        rehearsal = Rehearsal(analysis=clean_analysis(locks=True))
        outcome = await rehearsal.ask(sql)
        assert outcome.code == "HOOP218"
        assert rehearsal.events[-1].clear["decision"] == "hold"
        assert not [step for step in rehearsal.steps if step.startswith(("plan", "execute", "intent"))]
