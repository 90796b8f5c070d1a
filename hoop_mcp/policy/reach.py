"""What a principal has any way into at all: which databases and tables the describing tools may name."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from hoop_mcp.policy.rules import When
from hoop_mcp.terms import Effect, Operator, Verb

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


BY_POLICY = "by policy"
"""The mask of a column depends on what else a statement uses, or when or why it is sent."""


def standing_masks(
    policies: PolicySet, principal: Principal, database: str, relation: str, categories: Iterable[str]
) -> dict[str, str]:
    """What a column of each category of one relation gets in a plain SELECT, which filters and sorts by nothing personal.

    An operator's name where every rule that may have a say comes to the same; ``denied`` where a rule denies whatever
    touches or shows the category; else :data:`BY_POLICY`, and ``explain`` tells it of a statement.
    """
    told = {}
    speaking = [rule for rule in _speaking(policies, principal, database) if _may_concern(rule, relation)]
    opening = [rule for rule in speaking if rule.opens]
    for category in categories:
        if any(category in (_denied_outright(rule) or ()) for rule in speaking):
            told[category] = "denied"
            continue
        asked = {choice.operator for rule in speaking if (choice := rule.mask_for(category)) is not None}
        if any(rule.mask_for(category) is None for rule in opening) or not opening:
            asked.add(Operator.REDACT)
        conditional = any(rule.then is Effect.DENY and _denied_outright(rule) is None for rule in speaking)
        told[category] = next(iter(asked)).name.lower() if len(asked) == 1 and not conditional else BY_POLICY
    return told


def _speaking(policies: PolicySet, principal: Principal, database: str) -> Iterator[Rule]:
    """Every rule in force for the principal under any role and purpose it may act under."""
    seen: set[str] = set()
    for role, purpose in product(principal.roles, principal.purposes):
        for policy in policies.in_scope(database, role, purpose):
            for rule in policy.rules:
                if policy.mode != "observe" and rule.id not in seen:
                    seen.add(rule.id)
                    yield rule


def _may_concern(rule: Rule, relation: str) -> bool:
    """Whether the rule can match a read of the relation that probes nothing."""
    when, schema = rule.when, relation.partition(".")[0]
    return (
        not when.no_tables
        and when.probes_any is None
        and (when.kind is None or Verb.READ in when.kind)
        and (when.only_tables is None or relation in when.only_tables)
        and (when.only_schemas is None or schema in when.only_schemas)
    )


def _denied_outright(rule: Rule) -> frozenset[str] | None:
    """The categories that a deny closes whatever else a statement does; None for any other rule."""
    when = rule.when
    asked = [each for each in (when.touches_any, when.shows_any) if each is not None]
    alone = replace(when, kind=None, touches_any=None, shows_any=None) == When()
    return asked[0] if rule.then is Effect.DENY and alone and len(asked) == 1 else None


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
