"""The trace, the tests of policies, and the batch: told from the same evaluation that decides."""

import json
from types import SimpleNamespace

import pytest

from hoop_mcp.errors import DatabaseUnavailable, Refused
from hoop_mcp.policy.assessment import Asking, Assessment
from hoop_mcp.policy.batch import answer_line, as_line
from hoop_mcp.policy.cases import read_tests
from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.document import read_policy
from hoop_mcp.policy.explain import explain, explained
from hoop_mcp.policy.facts import Shown
from hoop_mcp.policy.rules import MaskChoice, Mode, Policy, PolicySet
from hoop_mcp.policy.trial import run_tests, summary
from hoop_mcp.terms import Effect, Limits, Operator

pytestmark = pytest.mark.anyio
ASKING = Asking(role="agent", purpose="support", database="shop")


class FakeJudge:
    """Answers from a table of SQL to assessment or exception; remembers what it was asked."""

    def __init__(self, policies, answers):
        self.policies = policies
        self.asked = []
        self._answers = answers

    async def assess(self, sql, params, as_):
        self.asked.append((sql, tuple(params), as_))
        answer = self._answers[sql]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self):
        pass


@pytest.fixture
def shop(build):
    text = """\
policy: support
owner: dpo@example.com
applies_to: {databases: [shop], roles: [agent], purposes: [support]}
rules:
  - id: read-the-ticket
    when: {kind: [read], only_tables: [public.customers, public.orders]}
    then: allow
    mask: {identity: keep, contact: partial}
    because: Answering a ticket needs the customer's name.
  - id: refund-needs-a-lead
    when: {kind: [write], only_tables: [public.orders]}
    then: hold
    approval: {from: [lead]}
    because: A refund moves money, so a person says yes.
  - id: never-payment
    when: {touches_any: [payment]}
    then: deny
    because: Card and bank data are out of scope for support. Ask billing instead.
"""
    policies = PolicySet.of([read_policy(text, "support.yaml")[0].policy])
    paying = build.facts(
        relations=frozenset({"public.customers", "public.payments"}),
        columns=(Shown("name", (build.use("identity", "name"),)), Shown("n", (build.use("payment", "card_number"),))),
    )
    naming = build.facts(
        columns=(
            Shown("name", (build.use("identity", "name"),)),
            Shown("email", (build.use("contact", "email"),)),
            Shown("n"),
        )
    )
    return SimpleNamespace(policies=policies, paying=paying, naming=naming)


def assessed(policies, facts):
    return Assessment(decide(policies, facts), facts)


def test_a_trace_tells_every_rule_with_its_place_and_ends_in_the_decision(shop):
    told = str(explain(shop.policies, shop.paying)).splitlines()
    assert [line.split() for line in told] == [
        line.split()
        for line in """\
shows      public.customers.card_number (payment) · public.customers.name (identity)
probes     nothing personal
reaches    public.customers · public.payments
policy support: role agent, purpose support
  YES  never-payment        touches_any: payment, through customers.card_number       support.yaml:15
  no   read-the-ticket      only_tables: public.payments is not listed                support.yaml:5
  no   refund-needs-a-lead  kind: this statement reads                                support.yaml:10
DENY       Card and bank data are out of scope for support. Ask billing instead.
HOOP302    Leave out payment data (customers.card_number).
""".splitlines()
    ]


def test_a_trace_tells_the_masks_and_who_asked_for_them(shop):
    told = str(explain(shop.policies, shop.naming))
    assert "mask       name: keep (identity; rule read-the-ticket)" in told
    assert "mask       email: partial (contact; rule read-the-ticket)" in told


def test_the_decision_explained_is_the_decision_made(shop):
    for facts in (shop.paying, shop.naming):
        assert explain(shop.policies, facts).decision == decide(shop.policies, facts)


def test_a_policy_out_of_scope_says_so(shop, build):
    told = str(explain(shop.policies, build.facts(purpose="marketing")))
    assert "policy support speaks of other purposes than marketing" in told


def test_an_observed_policy_is_told_apart(shop, build):
    scope = {"databases": frozenset({"shop"}), "roles": frozenset({"agent"}), "purposes": frozenset({"support"})}
    deny = build.rule("watch", Effect.DENY, touches_any=["identity"])
    watching = Policy(name="watching", owner="o", rules=(deny,), mode=Mode.OBSERVE, **scope)
    told = str(explain(PolicySet.of([*shop.policies.policies, watching]), shop.naming))
    assert "policy watching (observed only)" in told
    assert "with the policies in observe mode it would be:\n  DENY" in told


def test_a_statement_that_never_reached_policy_is_told_by_its_refusal(shop):
    told = explained(shop.policies, Assessment.refused(Refused("HOOP203", "This cannot be read.")))
    assert told == "DENY       This cannot be read.\nHOOP203    Rewrite it in plain PostgreSQL syntax."


def test_the_json_of_an_assessment_is_the_surfaces(shop):
    assert assessed(shop.policies, shop.naming).as_json("a1") == {
        "id": "a1",
        "effect": "allow",
        "masked": [1],  # kept and impersonal columns are not masked
        "columns": ["name", "email", "n"],
        "relations": ["public.customers"],
        "behind": [],
        "probes": [],
        "rules": ["read-the-ticket"],
        "because": ["Answering a ticket needs the customer's name."],
        "code": None,
    }


async def test_a_batch_answers_every_line_in_its_own_line(shop):
    judge = FakeJudge(
        shop.policies,
        {
            "ok": assessed(shop.policies, shop.naming),
            "bad": Refused("HOOP203", "This cannot be read."),
            "down": DatabaseUnavailable("shop is down at 10.0.0.1"),
            "bug": RuntimeError("jane@example.com"),
        },
    )
    lines = [
        (b'{"id": 1, "sql": "ok", "params": [1, null, "x"]}\n', 1, "allow", None, True),
        (b'{"id": "b", "sql": "bad"}\n', "b", "deny", "HOOP203", True),
        (b'{"id": 2, "sql": "down"}\n', 2, "deny", "HOOP501", False),
        (b'{"id": 3, "sql": "bug"}\n', 3, "deny", "HOOP199", False),
        (b'{"id": 4}\n', 4, "deny", "HOOP105", False),
        (b'{"id": 5, "sql": "ok", "params": 7}\n', 5, "deny", "HOOP105", False),
        (b"[1]\n", None, "deny", "HOOP105", False),
        (b"not json\n", None, "deny", "HOOP105", False),
        (b"\xff\n", None, "deny", "HOOP105", False),
        (b"[" * 100_000 + b"\n", None, "deny", "HOOP105", False),
        (b"\n", None, "deny", "HOOP105", False),
        (b'{"id": 6, "sql": "' + b"x" * 1_000_000 + b'"}\n', None, "deny", "HOOP105", False),
    ]
    for line, ident, effect, code, analysed in lines:
        answered = await answer_line(line, judge, ASKING)
        raw = as_line(answered)
        assert raw.endswith(b"\n")
        assert raw.count(b"\n") == 1
        said = json.loads(raw)
        assert (said["id"], said["effect"], said["code"], answered.analysed) == (ident, effect, code, analysed)
        assert "jane" not in raw.decode()
        assert "10.0.0.1" not in raw.decode()
    assert judge.asked[0] == ("ok", (1, None, "x"), ASKING)


TESTS = """\
tests: support
schema: shop.sql
as: {{role: agent, purpose: support, database: shop, reason: SUP-1}}
cases:
  - it: is as expected
    sql: SELECT name
    expect: {expect}
"""
EXPECTATIONS = [
    ("{effect: allow, by: [read-the-ticket], mask: {name: keep, email: partial, n: none}, max_rows: 7}", []),
    ("{mask: {n: keep}}", []),  # shown as it is, which is all that keep says
    ("{effect: deny}", ["effect: expected deny, got allow"]),
    ("{by: [other]}", ["by: expected other, got read-the-ticket"]),  # the right thing for the wrong reason
    ("{by: []}", ["by: expected no rule, got read-the-ticket"]),
    ("{mask: {email: redact}}", ["mask of email: expected redact, got partial"]),
    ("{mask: {email: none}}", ["mask of email: expected none, got partial"]),
    ("{mask: {phone: keep}}", ["mask of phone: expected keep, got no such column in the answer"]),
    ("{max_rows: 8}", ["max_rows: expected 8, got 7"]),
    ("{code: HOOP301}", ["code: expected HOOP301, got none"]),
]


@pytest.mark.parametrize(("expect", "differences"), EXPECTATIONS)
async def test_a_case_compares_the_keys_given_and_no_others(build, shop, expect, differences):
    rule = build.rule(
        "read-the-ticket",
        masks=(MaskChoice("identity", Operator.KEEP), MaskChoice("contact", Operator.PARTIAL)),
        limits=Limits(max_rows=7),
    )
    policies = build.policies(rule)
    judge = FakeJudge(policies, {"SELECT name": assessed(policies, shop.naming)})
    tests, found = read_tests(TESTS.format(expect=expect), "t.yaml")
    assert not found
    [result] = await run_tests(tests, judge)
    assert list(result.differences[:-1]) == differences
    assert result.passed is (not differences)
    assert judge.asked == [("SELECT name", (), Asking("agent", "support", "shop", "SUP-1"))]
    assert summary([result]) == ("1 passed, 0 failed" if result.passed else "0 passed, 1 failed")
    assert str(result).startswith(("ok    " if result.passed else "FAIL  ") + "t.yaml:5  is as expected")


async def test_a_column_given_twice_must_be_masked_alike(build):
    policies = build.policies(build.rule(masks=(MaskChoice("identity", Operator.KEEP),)))
    columns = (Shown("x", (build.use("identity"),)), Shown("x", (build.use("contact"),)))
    judge = FakeJudge(policies, {"SELECT name": assessed(policies, build.facts(columns=columns))})
    tests, _ = read_tests(TESTS.format(expect="{mask: {x: keep}}"), "t.yaml")
    [result] = await run_tests(tests, judge)
    assert result.differences[0] == "mask of x: expected keep, got keep, redact"
