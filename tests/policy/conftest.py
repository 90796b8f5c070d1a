"""Small builders: a catalogue, facts and rules without a line of YAML."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from hoop_mcp.policy.facts import Facts, Shown, Use
from hoop_mcp.policy.rules import Policy, PolicySet, Rule, When
from hoop_mcp.terms import ColumnRef, Effect, Verb


def use(category, column=None, entity=None):
    return Use(ColumnRef("public", "customers", column or category), category, entity)


def make_facts(**given):
    """Facts of ``SELECT … FROM customers``; shows, probes and lookups may be given as category names."""

    def uses(value):
        return tuple(use(each) if isinstance(each, str) else each for each in value)

    if "shows" in given:
        given["columns"] = tuple(Shown(f"c{i}", (each,)) for i, each in enumerate(uses(given.pop("shows"))))
    for name in ("probes", "lookups"):
        if name in given:
            given[name] = uses(given[name])
    base = {
        "database": "shop",
        "role": "agent",
        "purpose": "support",
        "actor": "agent",
        "client": "cursor",
        "verb": Verb.READ,
        "relations": frozenset({"public.customers"}),
        "behind": frozenset(),
        "metadata": frozenset(),
        "restricted": frozenset(),
        "columns": (),
        "probes": (),
        "lookups": (),
        "now": datetime(2026, 3, 2, 12, tzinfo=UTC),  # a Monday
        "reason": None,
    }
    return Facts(**(base | given))


def make_rule(ident="open", then=Effect.ALLOW, **given):
    """A rule that opens customers unless told otherwise; facts as lists."""
    rule_keys = {"masks", "limits", "reviewers", "require"}
    extra = {key: given.pop(key) for key in rule_keys & given.keys()}
    if then is Effect.ALLOW and not given.keys() & {"only_tables", "only_schemas", "no_tables"}:
        given["only_tables"] = ["public.customers"]
    facts = {key: frozenset(value) if isinstance(value, list) else value for key, value in given.items()}
    if then is Effect.HOLD:
        extra.setdefault("reviewers", frozenset({"lead"}))
    return Rule(ident, When(**facts), then, f"Because of {ident}.", file="p.yaml", line=7, **extra)


def make_policies(*rules, name="p", **given):
    scope = {
        "databases": frozenset({"shop"}),
        "roles": frozenset({"agent"}),
        "purposes": frozenset({"support"}),
        **given,
    }
    return PolicySet.of([Policy(name=name, owner="o", rules=tuple(rules), **scope)])


@pytest.fixture(scope="session")
def build():
    return SimpleNamespace(use=use, facts=make_facts, rule=make_rule, policies=make_policies)


@pytest.fixture(scope="session")
def policy_text():
    """A policy file around some rules, each given as text indented by nothing."""

    def text(*rules, head="", scope="{databases: [shop], roles: [agent], purposes: [support]}"):
        body = "".join("  - " + rule.strip().replace("\n", "\n    ") + "\n" for rule in rules)
        return f"policy: p\nowner: o@example.com\n{head}applies_to: {scope}\nrules:\n{body}"

    return text
