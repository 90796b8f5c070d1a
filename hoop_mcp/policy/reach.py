"""What a principal has any way into at all: which databases and tables the describing tools may name."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hoop_mcp.policy.rules import PolicySet, Rule
    from hoop_mcp.terms import Principal


def opening_rules(policies: PolicySet, principal: Principal, database: str) -> Iterator[Rule]:
    """The rules that open something to the principal under any role and purpose it may act under."""
    seen: set[str] = set()
    for role, purpose in product(principal.roles, principal.purposes):
        for policy in policies.in_scope(database, role, purpose):
            if policy.mode == "observe":
                continue
            for rule in policy.rules:
                if rule.opens and rule.id not in seen:
                    seen.add(rule.id)
                    yield rule


def reachable(policies: PolicySet, principal: Principal, database: str, relations: Iterable[str]) -> frozenset[str]:
    """The relations (``schema.table``) that some rule gives the principal a way into; the rest is not named to it."""
    rules = tuple(opening_rules(policies, principal, database))
    found = set()
    for relation in relations:
        schema = relation.partition(".")[0]
        if any(
            (rule.when.only_tables is not None and relation in rule.when.only_tables)
            or (rule.when.only_schemas is not None and schema in rule.when.only_schemas)
            for rule in rules
        ):
            found.add(relation)
    return frozenset(found)
