"""Every fact of ``when``, one table each: what makes it true and what does not."""

from datetime import UTC, datetime

import pytest

from hoop_mcp.policy.matching import hear, within_hours
from hoop_mcp.policy.rules import Hours
from hoop_mcp.terms import Effect, Verb

T = frozenset


def heard(build, rule, **facts):
    [hearing] = hear(build.policies(rule), build.facts(**facts))
    return hearing


KIND = [
    (["read"], Verb.READ, True),
    (["read"], Verb.WRITE, False),
    (["write"], Verb.READ, False),
    (["read", "write"], Verb.WRITE, True),
]


@pytest.mark.parametrize(("kinds", "verb", "true"), KIND)
def test_kind_is_the_heaviest_verb(build, kinds, verb, true):
    rule = build.rule(kind=frozenset(Verb[kind.upper()] for kind in kinds))
    assert heard(build, rule, verb=verb).matched is true


ONLY_TABLES = [
    ({"a.x"}, set(), set(), True),
    ({"a.x", "a.y"}, set(), set(), True),
    ({"a.x", "a.z"}, set(), set(), False),  # one is not listed
    ({"a.x"}, {"a.z"}, set(), False),  # neither is what a view is made from
    ({"a.x"}, {"a.y"}, set(), True),
    (set(), set(), set(), False),  # everything of nothing is not something
    ({"pg_catalog.pg_class"}, set(), {"pg_catalog.pg_class"}, True),  # vouched metadata counts as listed
    ({"pg_catalog.pg_class", "a.z"}, set(), {"pg_catalog.pg_class"}, False),
    ({"pg_catalog.pg_class"}, set(), set(), False),  # not vouched for
]


@pytest.mark.parametrize(("relations", "behind", "metadata", "true"), ONLY_TABLES)
def test_only_tables_is_about_everything_reached_and_there_is_something(build, relations, behind, metadata, true):
    rule = build.rule(only_tables=["a.x", "a.y"])
    hearing = heard(build, rule, relations=T(relations), behind=T(behind), metadata=T(metadata))
    assert hearing.matched is true


ONLY_SCHEMAS = [
    ({"a.x", "b.y"}, True),
    ({"a.x", "c.y"}, False),
    ({"a.b.c"}, False),  # a dot in a name: which part is the schema cannot be told
    (set(), False),
]


@pytest.mark.parametrize(("relations", "true"), ONLY_SCHEMAS)
def test_only_schemas_is_about_everything_reached_and_there_is_something(build, relations, true):
    assert heard(build, build.rule(only_schemas=["a", "b"]), relations=T(relations)).matched is true


def test_no_tables_is_about_nothing_reached_not_even_metadata(build):
    rule = build.rule(no_tables=True)
    assert heard(build, rule, relations=T()).matched
    assert not heard(build, rule, relations=T({"pg_catalog.pg_class"}), metadata=T({"pg_catalog.pg_class"})).matched
    assert not heard(build, rule, relations=T(), behind=T({"a.x"})).matched


def test_any_tables_is_about_one_of_those_reached(build):
    rule = build.rule(then=Effect.DENY, any_tables=["a.x"])
    assert heard(build, rule, relations=T({"a.x", "a.y"})).matched
    assert heard(build, rule, relations=T({"a.v"}), behind=T({"a.x"})).matched
    assert not heard(build, rule, relations=T({"a.y"})).matched
    assert not heard(build, rule, relations=T()).matched


def test_functions_any_is_about_one_of_those_called(build):
    rule = build.rule(then=Effect.DENY, functions_any=["a.f(bigint)", "a.g()"])
    assert heard(build, rule, functions=T({"a.f(bigint)", "lower(text)"})).matched
    assert not heard(build, rule, functions=T({"a.f(integer)"})).matched
    assert not heard(build, rule).matched


USES = [
    ("shows_any", {"shows": ["contact"]}, True),
    ("shows_any", {"shows": ["contact", "health"]}, True),
    ("shows_any", {"shows": ["health"]}, False),
    ("shows_any", {"probes": ["contact"]}, False),  # steering is not showing
    ("shows_any", {}, False),
    ("shows_only", {"shows": ["contact"]}, True),
    ("shows_only", {"shows": ["contact", "health"]}, False),
    ("shows_only", {}, True),  # all there are, be it none
    ("probes_any", {"probes": ["contact"]}, True),
    ("probes_any", {"probes": ["contact", "health"]}, True),
    ("probes_any", {"probes": ["health"]}, False),
    ("probes_any", {"lookups": ["contact"]}, False),  # a lookup is never a probe
    ("probes_any", {}, False),
    ("probes_only", {"probes": ["contact"]}, True),
    ("probes_only", {"probes": ["contact", "health"]}, False),
    ("probes_only", {}, True),
    ("touches_any", {"shows": ["contact"]}, True),
    ("touches_any", {"probes": ["contact"]}, True),
    ("touches_any", {"lookups": ["contact"]}, True),
    ("touches_any", {"shows": ["health"]}, False),
    ("touches_any", {}, False),
    ("lookups", {"lookups": ["contact"]}, True),
    ("lookups", {"lookups": ["contact", "health"]}, True),
    ("lookups", {"lookups": ["health"]}, False),
    ("lookups", {"probes": ["contact"]}, False),
    ("lookups", {}, False),
]


@pytest.mark.parametrize(("fact", "facts", "true"), USES)
def test_a_use_of_a_category_in_a_rule_that_denies(build, fact, facts, true):
    assert heard(build, build.rule(then=Effect.DENY, **{fact: ["contact"]}), **facts).matched is true


def test_an_allow_that_lists_no_probes_has_no_say_where_there_are_some(build):
    assert not heard(build, build.rule(), probes=["contact"]).matched
    assert heard(build, build.rule(probes_any=["contact"]), probes=["contact"]).opens


def test_a_hold_that_lists_no_probes_still_holds_but_opens_nothing(build):
    hearing = heard(build, build.rule(then=Effect.HOLD, only_tables=["public.customers"]), probes=["contact"])
    assert hearing.matched
    assert not hearing.opens


def test_a_hold_that_names_no_tables_opens_nothing(build):
    hearing = heard(build, build.rule(then=Effect.HOLD, shows_any=["contact"]), shows=["contact"])
    assert hearing.matched
    assert not hearing.opens


LOOKUPS = [
    (["contact"], ["contact"], True),
    (["contact", "identity"], ["contact"], True),
    (["contact"], ["contact", "identity"], False),  # every lookup, by this one rule
    (["identity"], ["contact"], False),
    (["contact"], [], True),  # in an opening rule the list asks for nothing
]


@pytest.mark.parametrize(("listed", "looked_up", "opens"), LOOKUPS)
def test_an_opening_rule_covers_the_lookups_it_lists(build, listed, looked_up, opens):
    assert heard(build, build.rule(lookups=listed), lookups=looked_up).opens is opens
    hold = heard(
        build, build.rule(then=Effect.HOLD, only_tables=["public.customers"], lookups=listed), lookups=looked_up
    )
    assert hold.matched
    assert hold.opens is opens


def test_a_rule_without_lookups_covers_none(build):
    assert not heard(build, build.rule(), lookups=["contact"]).matched


def at(day, clock, tz=UTC):
    hour, minute = clock.split(":")
    return datetime(2026, 3, day, int(hour), int(minute), tzinfo=tz)  # the 2nd is a Monday


NIGHT = Hours(22 * 60, 6 * 60, "Europe/Berlin", frozenset({0, 1, 2, 3, 4}))
DAY = Hours(9 * 60, 17 * 60, "Europe/Berlin", frozenset({0}))
HOURS = [
    (NIGHT, at(2, "21:00"), True),  # 22:00 in Berlin, Monday: opens
    (NIGHT, at(2, "20:59"), False),
    (NIGHT, at(3, "04:59"), True),  # 05:59 on Tuesday, opened on Monday
    (NIGHT, at(3, "05:00"), False),  # 06:00: closed
    (NIGHT, at(7, "02:00"), True),  # Saturday night belongs to Friday
    (NIGHT, at(7, "22:00"), False),  # Saturday opens nothing
    (NIGHT, at(2, "02:00"), False),  # Monday night belongs to Sunday
    (DAY, at(2, "08:00"), True),
    (DAY, at(2, "15:59"), True),
    (DAY, at(2, "16:00"), False),
    (DAY, at(3, "10:00"), False),
    (Hours(0, 24 * 60, "UTC", frozenset({0})), at(2, "23:59"), True),  # a whole day
    (Hours(0, 24 * 60, "UTC", frozenset({0})), at(3, "00:00"), False),
    (DAY, datetime(2026, 7, 6, 7, 0, tzinfo=UTC), True),  # summer time moves the window with the clock on the wall
]


@pytest.mark.parametrize(("hours", "now", "true"), HOURS)
def test_hours_are_on_the_wall_clock_and_belong_to_the_day_they_open(hours, now, true):
    assert within_hours(hours, now) is true


def test_hours_are_asked_of_the_time_of_the_call(build):
    rule = build.rule(then=Effect.DENY, hours=NIGHT)
    assert heard(build, rule, now=at(2, "22:30")).matched
    assert not heard(build, rule, now=at(2, "12:00")).matched


def test_actors(build):
    assert heard(build, build.rule(actors=["agent", "ci"]), actor="ci").matched
    assert not heard(build, build.rule(actors=["human"]), actor="agent").matched


CLIENTS = [
    ("cursor", True),
    ("Cursor ", True),  # told by the client, so compared kindly
    ("claude-code", False),
    (None, True),  # no name is taken for a listed one: only rules that tighten may ask
    ("  ", True),
]


@pytest.mark.parametrize(("client", "true"), CLIENTS)
def test_clients(build, client, true):
    assert heard(build, build.rule(then=Effect.DENY, clients=["cursor"]), client=client).matched is true


def test_all_facts_must_be_true(build):
    rule = build.rule(then=Effect.DENY, touches_any=["contact"], actors=["human"])
    assert not heard(build, rule, shows=["contact"], actor="agent").matched
    assert heard(build, rule, shows=["contact"], actor="human").matched


SCOPES = [
    ({}, True),
    ({"database": "other"}, False),
    ({"role": "other"}, False),
    ({"purpose": "other"}, False),
]


@pytest.mark.parametrize(("facts", "heard_"), SCOPES)
def test_a_policy_speaks_only_about_calls_in_its_scope(build, facts, heard_):
    assert bool(hear(build.policies(build.rule()), build.facts(**facts))) is heard_


def test_a_policy_without_purposes_speaks_about_every_purpose(build):
    policies = build.policies(build.rule(then=Effect.DENY), purposes=None)
    assert hear(policies, build.facts(purpose="whatever"))


def test_why_names_the_column_and_never_the_reason_of_the_call(build):
    rule = build.rule(then=Effect.DENY, touches_any=["payment"])
    hearing = heard(build, rule, shows=[build.use("payment", "card_number")], reason="for jane@example.com")
    assert hearing.why == "touches_any: payment, through customers.card_number"
