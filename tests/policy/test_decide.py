"""Decisions: effect, masks, limits, and what the agent is told."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hoop_mcp.errors import CODES
from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.facts import Shown, facts
from hoop_mcp.policy.masks import column_masks
from hoop_mcp.policy.matching import hear
from hoop_mcp.policy.rules import MaskChoice, Mode, Policy, PolicySet, Require
from hoop_mcp.sql.catalogue import read_catalogue
from hoop_mcp.terms import (
    Analysis,
    Budget,
    Client,
    ColumnRef,
    Effect,
    Groups,
    Limits,
    Mandate,
    Operator,
    OutputColumn,
    Principal,
    Verb,
)

ALLOW, HOLD, DENY = Effect
CUSTOMERS = ["public.customers"]


def ask(category, operator, **options):
    return MaskChoice(category, Operator[operator.upper()], tuple(options.items()))


def test_no_rule_means_no(build):
    decision = decide(PolicySet.of([]), build.facts())
    assert (decision.effect, decision.code, decision.rules) == (DENY, "HOOP301", ())
    assert decision.because == ("No policy speaks for role agent for support on database shop.",)


def test_a_matching_allow_opens_and_its_words_are_kept(build):
    decision = decide(build.policies(build.rule("open")), build.facts())
    assert (decision.effect, decision.code, decision.rules) == (ALLOW, None, ("open",))
    assert decision.because == ("Because of open.",)


def test_deny_wins_over_hold_and_allow(build):
    rules = [
        build.rule("open"),
        build.rule("wait", HOLD, shows_any=["contact"]),
        build.rule("no", DENY, touches_any=["contact"]),
    ]
    decision = decide(build.policies(*rules), build.facts(shows=["contact"]))
    assert (decision.effect, decision.code, decision.rules) == (DENY, "HOOP302", ("no",))
    assert decision.instead == "Leave out contact data (customers.contact)."
    assert decision.masks == ()


def test_a_hold_that_names_tables_opens_the_way_after_approval(build):
    decision = decide(build.policies(build.rule("wait", HOLD, only_tables=CUSTOMERS)), build.facts())
    assert (decision.effect, decision.code, decision.reviewers) == (HOLD, "HOOP311", ("lead",))


def test_a_hold_that_names_none_is_a_deny_alone_and_tightens_beside_an_allow(build):
    hold = build.rule("wait", HOLD, shows_any=["contact"])
    alone = decide(build.policies(hold), build.facts(shows=["contact"]))
    assert (alone.effect, alone.code) == (DENY, "HOOP301")
    beside = decide(build.policies(hold, build.rule()), build.facts(shows=["contact"]))
    assert (beside.effect, beside.rules) == (HOLD, ("wait",))


def test_a_restricted_table_is_denied_whatever_a_rule_says(build):
    decision = decide(build.policies(build.rule()), build.facts(restricted=frozenset(CUSTOMERS)))
    assert (decision.effect, decision.code) == (DENY, "HOOP213")
    assert decision.because == ("public.customers is out of bounds for every policy.",)


def test_a_restricted_table_behind_a_view_is_not_named(build):
    hidden = frozenset({"hr.secrets"})
    decision = decide(build.policies(build.rule()), build.facts(behind=hidden, restricted=hidden))
    assert decision.code == "HOOP213"
    assert "secrets" not in str(decision)


def test_a_probe_without_a_voice_is_denied_with_a_code_of_its_own(build):
    decision = decide(build.policies(build.rule()), build.facts(probes=["contact"]))
    assert (decision.effect, decision.code) == (DENY, "HOOP312")
    assert "contact data (customers.contact)" in decision.because[0]


def test_a_probe_is_opened_by_the_rule_that_lists_it(build):
    assert decide(build.policies(build.rule(probes_any=["contact"])), build.facts(probes=["contact"])).effect is ALLOW


def test_every_probed_category_needs_a_voice_be_it_in_another_rule(build):
    one = build.rule("one", probes_any=["contact"])
    other = build.rule("other", probes_any=["identity"])
    both = build.facts(probes=["contact", "identity"])
    assert decide(build.policies(one), both).code == "HOOP312"
    assert decide(build.policies(one, other), both).effect is ALLOW


def test_a_tightening_hold_and_a_deny_are_no_voice(build):
    hold = build.rule("wait", HOLD, probes_any=["contact"])
    assert decide(build.policies(build.rule(), hold), build.facts(probes=["contact"])).effect is DENY


def test_a_hold_for_probing_has_the_code_of_probing_and_names_who_decides(build):
    hold = build.rule("wait", HOLD, only_tables=CUSTOMERS, probes_any=["contact"])
    decision = decide(build.policies(build.rule(), hold), build.facts(probes=["contact"]))
    assert (decision.effect, decision.code) == (HOLD, "HOOP312")
    assert decision.instead.startswith("This statement filters, sorts or groups on contact data (customers.contact)")
    assert "lead would have to decide" in decision.instead


def test_a_lookup_not_covered_is_denied(build):
    decision = decide(build.policies(build.rule()), build.facts(lookups=["contact"]))
    assert (decision.effect, decision.code) == (DENY, "HOOP312")
    assert decision.because == (
        "Looking people up by contact data (customers.contact) is not open to role agent for support.",
    )
    assert decide(build.policies(build.rule(lookups=["contact"])), build.facts(lookups=["contact"])).effect is ALLOW


UNOPENED = [
    ({"relations": frozenset({"public.payments"})}, "No rule opens public.payments to role agent for support."),
    (
        {"relations": frozenset({"public.view"}), "behind": frozenset({"hr.secrets"})},
        "No rule opens public.view to role agent for support.",
    ),
    (
        {"behind": frozenset({"hr.secrets"})},
        "No single rule opens all that the statement reaches (public.customers) to role agent for support.",
    ),
    (
        {"relations": frozenset()},
        "The statement names no table, and no rule opens such a statement to role agent for support.",
    ),
    ({"verb": Verb.WRITE}, "No rule lets role agent for support write anything here."),
    (
        {"actor": "ci"},
        "No rule opens this statement to role agent for support; the nearest, open, asks for other actors.",
    ),
]


@pytest.mark.parametrize(("given", "said"), UNOPENED)
def test_what_is_not_opened_says_why_and_names_nothing_the_agent_did_not(build, given, said):
    rule = build.rule(kind=frozenset({Verb.READ}), actors=["agent"])
    decision = decide(build.policies(rule), build.facts(**given))
    assert (decision.effect, decision.code, decision.because) == (DENY, "HOOP301", (said,))


def one_mask(build, *rules, shows=("contact",), columns=None):
    given = build.facts(shows=list(shows)) if columns is None else build.facts(columns=columns)
    return decide(build.policies(*rules), given).masks[0]


def test_a_category_no_rule_names_is_redacted(build):
    mask = one_mask(build, build.rule(masks=(ask("identity", "keep"),)))
    assert (mask.operator, mask.rule) == (Operator.REDACT, None)


def test_the_heaviest_mask_among_the_rules_that_name_the_category_wins(build):
    rules = [
        build.rule("a", masks=(ask("contact", "keep"),)),
        build.rule("b", masks=(ask("contact", "partial", last=2),)),
        build.rule("c", masks=(ask("identity", "nullify"),)),
    ]
    mask = one_mask(build, *rules)
    assert (mask.operator, mask.rule, mask.options) == (Operator.PARTIAL, "b", (("last", 2),))


def test_rules_heard_and_not_matching_have_no_say_on_masks(build):
    rules = [build.rule("a"), build.rule("b", only_tables=["public.orders"], masks=(ask("contact", "nullify"),))]
    given = build.facts(shows=["contact"])
    [mask] = column_masks(hear(build.policies(*rules), given), given)
    assert mask.operator is Operator.REDACT


def test_a_rule_that_does_not_match_has_no_say_on_masks(build):
    other = build.rule("other", only_tables=["public.payments"], masks=(ask("contact", "nullify"),))
    assert one_mask(build, build.rule(masks=(ask("contact", "keep"),)), other).operator is Operator.KEEP


def test_a_hold_that_only_tightens_makes_a_mask_heavier_and_never_lighter(build):
    def hold(operator):
        return build.rule("wait", HOLD, shows_any=["contact"], masks=(ask("contact", operator),))

    assert one_mask(build, build.rule(), hold("keep")).operator is Operator.REDACT
    assert one_mask(build, build.rule(), hold("nullify")).operator is Operator.NULLIFY
    assert one_mask(build, build.rule(masks=(ask("contact", "keep"),)), hold("partial")).operator is Operator.PARTIAL


def test_the_same_operator_with_other_options_is_redacted(build):
    rules = [
        build.rule("a", masks=(ask("contact", "partial", last=2),)),
        build.rule("b", masks=(ask("contact", "partial", last=4),)),
    ]
    assert one_mask(build, *rules).operator is Operator.REDACT


EMAIL, EMAIL2, PHONE, BARE, NAME = "EMAIL_ADDRESS", "EMAIL_ADDRESS", "PHONE_NUMBER", None, "PERSON"
MIXTURES = [
    # uses as (category, column, entity); masks by category; the operator of the column
    ([("contact", "email", EMAIL)], {"contact": "partial"}, Operator.PARTIAL),
    ([("contact", "email", EMAIL), ("contact", "email2", EMAIL2)], {"contact": "partial"}, Operator.PARTIAL),
    ([("contact", "email", EMAIL), ("contact", "phone", PHONE)], {"contact": "partial"}, Operator.REDACT),
    ([("contact", "a", BARE), ("contact", "b", BARE)], {"contact": "partial"}, Operator.REDACT),
    ([("contact", "email", EMAIL), ("contact", "phone", PHONE)], {"contact": "keep"}, Operator.KEEP),
    ([("contact", "email", EMAIL), ("identity", "name", NAME)], {"contact": "keep", "identity": "keep"}, Operator.KEEP),
    ([("contact", "e", EMAIL), ("identity", "n", NAME)], {"contact": "partial", "identity": "keep"}, Operator.REDACT),
    ([("contact", "email", EMAIL), ("identity", "name", NAME)], {"contact": "keep"}, Operator.REDACT),
    ([("contact", "e", EMAIL), ("identity", "n", NAME)], {"contact": "nullify", "identity": "keep"}, Operator.NULLIFY),
    ([("contact", "e", EMAIL), ("unclassified", "x", BARE)], {"contact": "keep"}, Operator.REDACT),
]


@pytest.mark.parametrize(("uses", "masks", "operator"), MIXTURES)
def test_a_mixture_is_covered_for_every_category_in_it(build, uses, masks, operator):
    rule = build.rule(masks=tuple(ask(category, name) for category, name in masks.items()))
    column = Shown("mixed", tuple(build.use(*each) for each in uses))
    mask = one_mask(build, rule, columns=(column,))
    assert mask.operator is operator
    assert mask.category == ", ".join(sorted({category for category, _, _ in uses}))


def test_a_column_without_personal_data_has_no_mask(build):
    decision = decide(build.policies(build.rule()), build.facts(columns=(Shown("n"),)))
    assert decision.masks == (None,)


def test_a_held_statement_keeps_its_masks_for_when_it_runs(build):
    hold = build.rule("wait", HOLD, only_tables=CUSTOMERS, masks=(ask("contact", "partial"),))
    assert decide(build.policies(hold), build.facts(shows=["contact"])).masks[0].operator is Operator.PARTIAL


def test_the_smallest_limit_among_the_matching_rules_wins(build):
    rules = [
        build.rule("a", limits=Limits(max_rows=100, timeout_ms=5)),
        build.rule("b", limits=Limits(max_rows=10, max_bytes=7)),
        build.rule("c", only_tables=["public.payments"], limits=Limits(max_rows=1)),
    ]
    assert decide(build.policies(*rules), build.facts()).limits == Limits(max_rows=10, max_bytes=7, timeout_ms=5)


def test_the_strictest_minimum_is_the_largest(build):
    rules = [build.rule("a", limits=Limits(min_group=3)), build.rule("b", limits=Limits(min_group=9))]
    facts = build.facts(groups=Groups(counted=(0,)))
    assert decide(build.policies(*rules), facts).limits.min_group == 9


def test_a_minimum_denies_what_does_not_count_people_and_says_what_to_add(build):
    rules = [build.rule("small", limits=Limits(min_group=5)), build.rule("other")]
    groups = Groups(uncounted="nothing counts the people", instead="Add a count.")
    decision = decide(build.policies(*rules), build.facts(groups=groups))
    assert (decision.effect, decision.code, decision.rules, decision.instead) == (
        DENY,
        "HOOP313",
        ("small",),
        "Add a count.",
    )
    assert decision.because == ("Groups of fewer than 5 people are not shown, and nothing counts the people.",)
    assert decide(build.policies(build.rule("other")), build.facts(groups=groups)).effect is ALLOW
    assert decide(build.policies(*rules), build.facts(groups=None)).effect is ALLOW


def test_a_count_that_asks_about_one_person_is_denied_without_any_minimum(build):
    decision = decide(build.policies(build.rule()), build.facts(groups=Groups(counted=(0,), single=True)))
    assert (decision.effect, decision.code) == (DENY, "HOOP313")


def test_the_budgets_of_all_matching_rules_come_along(build):
    budgets = [Budget("a", 3_600, rows=5), Budget("b", 86_400, lookups=2)]
    rules = [replace(build.rule(budget.rule), budget=budget) for budget in budgets]
    rules.append(replace(build.rule("c", only_tables=["public.payments"]), budget=Budget("c", 60)))
    assert decide(build.policies(*rules), build.facts()).budgets == tuple(budgets)


REQUIRED = [
    (Require(reason=True), None, False),
    (Require(reason=True), "  ", False),
    (Require(reason=True), "the parcel came back", True),
    (Require(ticket=r"SUP-\d+"), "the parcel came back", False),
    (Require(ticket=r"SUP-\d+"), "parcel, SUP-12", True),
    (Require(ticket=r"SUP-\d+"), "x" * 600 + "SUP-12", False),  # looked for at the beginning only
]


@pytest.mark.parametrize(("require", "reason", "opens"), REQUIRED)
def test_what_a_rule_requires_must_come_with_the_call(build, require, reason, opens):
    decision = decide(build.policies(build.rule(require=require)), build.facts(reason=reason))
    assert (decision.effect is ALLOW) is opens
    assert opens or decision.code == "HOOP106"


def test_a_requirement_never_tells_its_pattern_or_the_reason_given(build):
    decision = decide(build.policies(build.rule(require=Require(ticket=r"SUP-\d+"))), build.facts(reason="for jane"))
    assert "SUP" not in str(decision)
    assert "jane" not in str(decision)


def observed(build, *rules):
    scope = {"databases": frozenset({"shop"}), "roles": frozenset({"agent"}), "purposes": frozenset({"support"})}
    return Policy(name="seen", owner="o", rules=rules, mode=Mode.OBSERVE, **scope)


def test_observe_mode_changes_no_answer_and_is_told_beside_it(build):
    enforced = build.policies(build.rule())
    both = PolicySet.of([*enforced.policies, observed(build, build.rule("no", DENY, touches_any=["contact"]))])
    given = build.facts(shows=["contact"])
    real, seen = decide(enforced, given), decide(both, given)
    assert seen.shadow is not None
    assert (seen.shadow.effect, seen.shadow.rules) == (DENY, ("no",))
    assert (seen.effect, seen.masks, seen.rules, seen.limits) == (real.effect, real.masks, real.rules, real.limits)
    assert real.shadow is None


def test_an_observed_allow_opens_nothing(build):
    policies = PolicySet.of([observed(build, build.rule())])
    decision = decide(policies, build.facts())
    assert decision.effect is DENY
    assert decision.shadow is not None
    assert decision.shadow.effect is ALLOW


def test_every_code_is_in_the_table():
    assert {"HOOP106", "HOOP213", "HOOP301", "HOOP302", "HOOP311", "HOOP312"} <= CODES.keys()


CATALOGUE = """
catalogue: shop
categories: {contact: {data_subjects: [customers]}}
columns:
  public.customers.id: {person: customers}
  public.customers.email: {category: contact, entity: EMAIL_ADDRESS, lookup: true}
  public.customers.phone: {category: contact}
  public.customers.since: none
tables: {audit.keys: restricted}
"""


def seen(**given):
    catalogue, _ = read_catalogue(CATALOGUE, "c.yaml")
    base = {
        "verb": Verb.READ,
        "columns": (),
        "probes": frozenset(),
        "lookups": frozenset(),
        "relations": frozenset({"public.customers"}),
        "behind": frozenset(),
        "functions": frozenset(),
    }
    metadata = given.pop("metadata", frozenset())
    principal = Principal("local:x", "agent", ("agent",), ("support",), "s", client=Client("cursor", "1"))
    return facts(
        Analysis(**(base | given)),
        catalogue,
        principal=principal,
        mandate=Mandate("agent", "support"),
        database="shop",
        now=datetime(2026, 3, 2, tzinfo=UTC),
        reason="r",
        metadata=metadata,
    )


def ref(column, table="customers", schema="public"):
    return ColumnRef(schema, table, column)


def test_facts_classify_what_is_shown_and_leave_out_what_is_not_personal():
    columns = (
        OutputColumn("email", "text", frozenset({ref("email"), ref("since"), ref("id")})),
        OutputColumn("new", "text", frozenset({ref("surprise")})),
    )
    got = seen(columns=columns)
    assert [use.category for use in got.columns[0].uses] == ["contact"]
    assert [use.category for use in got.columns[1].uses] == ["unclassified"]


def test_a_lookup_the_catalogue_does_not_know_is_a_probe():
    got = seen(lookups=frozenset({ref("email"), ref("phone")}))
    assert [use.column.column for use in got.lookups] == ["email"]
    assert [use.column.column for use in got.probes] == ["phone"]


def test_vouched_metadata_is_not_personal_unless_the_catalogue_says_so():
    tables = ColumnRef("information_schema", "tables", "table_name")
    name = frozenset({"information_schema.tables"})
    column = (OutputColumn("t", "name", frozenset({tables})),)
    assert seen(columns=column, relations=name, metadata=name).columns[0].uses == ()
    assert seen(columns=column, relations=name).columns[0].uses[0].category == "unclassified"


def test_a_restricted_table_is_a_fact_wherever_it_is_reached():
    assert seen(behind=frozenset({"audit.keys"})).restricted == {"audit.keys"}


def test_the_reason_stays_out_of_the_repr():
    assert "reason" not in repr(seen())


# -- row locks


def test_row_locks_are_held_whatever_a_rule_for_reading_allows(build):
    locking = build.facts(locks=True)
    allowed = build.policies(build.rule())
    assert decide(allowed, build.facts()).effect is Effect.ALLOW
    held = decide(allowed, locking)
    assert (held.effect, held.code, held.rules) == (Effect.HOLD, "HOOP218", ("open",))
    assert "FOR UPDATE" in held.instead


def test_row_locks_loosen_nothing(build):
    locking = build.facts(locks=True, probes=["contact"])
    assert decide(build.policies(build.rule()), locking).code == "HOOP312"
    assert decide(build.policies(), build.facts(locks=True)).effect is Effect.DENY
    denied = build.policies(build.rule(), build.rule("never", Effect.DENY, any_tables=["public.customers"]))
    assert decide(denied, build.facts(locks=True)).effect is Effect.DENY


def test_a_rule_that_holds_the_statement_speaks_for_its_row_locks_too(build):
    held = build.policies(build.rule(), build.rule("ask", Effect.HOLD, any_tables=["public.customers"]))
    assert decide(held, build.facts(locks=True)) == decide(held, build.facts())
