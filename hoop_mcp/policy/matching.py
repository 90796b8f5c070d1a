"""Whether a rule matches, and why not: the one evaluation that decide and explain share.

The facts are conjunctive: every one that a rule asks for must be true. Two things hold for every rule that can open a
way, whether or not it asks:

* **A probe needs a voice.** An allow that names neither ``probes_any`` nor ``probes_only`` does not match a statement
  that probes. A hold that names neither still holds such a statement, and opens nothing for it: its say is kept where
  it tightens and taken away where it would loosen.
* **A lookup must be covered.** An opening rule covers a lookup only if its own ``lookups`` lists the category, and all
  categories looked up must be covered by that one rule: two rules, each open to one lookup, do not together open a
  statement that links the two. For such a rule ``lookups`` asks for nothing. In a deny, and in a hold that names no
  tables, ``lookups`` is a fact like the others: at least one listed category is looked up.

Names of categories, tables and columns may stand in a reason; values never do, for none reach this module but the
call's own ``reason``, which is never repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from hoop_mcp.terms import Effect, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from hoop_mcp.policy.facts import Facts, Use
    from hoop_mcp.policy.rules import Hours, Policy, PolicySet, Rule

_OF_PROBES = frozenset({"probes_any", "probes_only", "probes", "lookups"})
_VERBS = {Verb.READ: "reads", Verb.WRITE: "writes"}


@dataclass(frozen=True, slots=True)
class Check:
    """One fact a rule asked for. ``why`` says what made it true, or what made it false."""

    fact: str
    true: bool
    why: str


@dataclass(frozen=True, slots=True)
class Hearing:
    """One rule in scope, heard. ``opens`` is whether it opens a way for this very statement."""

    policy: Policy
    rule: Rule
    checks: tuple[Check, ...]
    opens: bool

    @property
    def matched(self) -> bool:
        """Whether the rule has its say."""
        return all(check.true for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """What kept the rule from matching."""
        return tuple(check for check in self.checks if not check.true)

    @property
    def shut_by_use(self) -> bool:
        """Whether the rule would open the way, were it not for how personal data steers the statement."""
        return self.rule.opens and not self.opens and all(check.fact in _OF_PROBES for check in self.failures)

    @property
    def why(self) -> str:
        """The first thing that kept it out, or the most telling thing that let it in."""
        told = self.failures or self.checks[::-1]
        return f"{told[0].fact}: {told[0].why}" if told else "it asks for nothing"


def hear(policies: PolicySet, facts: Facts) -> tuple[Hearing, ...]:
    """Every rule of every policy in scope, in the set's order, whatever the policy's mode."""
    return tuple(
        hear_rule(policy, rule, facts)
        for policy in policies.in_scope(facts.database, facts.role, facts.purpose)
        for rule in policy.rules
    )


def hear_rule(policy: Policy, rule: Rule, facts: Facts) -> Hearing:
    """One rule on one statement."""
    checks = tuple(_checks(rule, facts))
    matched = all(check.true for check in checks)
    probes_spoken_for = not facts.probed or bool(rule.when.voices)
    opens = matched and rule.opens and probes_spoken_for and _lookups_covered(rule, facts)
    return Hearing(policy, rule, checks, opens)


def named(uses: Iterable[Use], categories: Iterable[str] | None = None) -> str:
    """``contact, through customers.email``: the categories and a few of the columns behind them."""
    wanted = None if categories is None else frozenset(categories)
    chosen = [use for use in uses if wanted is None or use.category in wanted]
    columns = sorted({f"{use.column.table}.{use.column.column}" for use in chosen})
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return f"{', '.join(sorted({use.category for use in chosen}))}, through {', '.join(columns[:3])}{more}"


def _checks(rule: Rule, facts: Facts) -> Iterator[Check]:
    when = rule.when
    if when.kind is not None:
        yield Check("kind", facts.verb in when.kind, f"this statement {_VERBS[facts.verb]}")
    yield from _table_checks(rule, facts)
    if when.shows_any is not None:
        yield _any("shows_any", when.shows_any, facts.shows, "shown")
    if when.shows_only is not None:
        yield _only("shows_only", when.shows_only, facts.shows, "shown")
    yield from _probe_checks(rule, facts)
    if when.touches_any is not None:
        uses = (*facts.shows, *facts.probes, *facts.lookups)
        yield _any("touches_any", when.touches_any, uses, "touched")
    yield from _lookup_checks(rule, facts)
    if when.functions_any is not None:
        called = facts.functions & when.functions_any
        yield Check(
            "functions_any",
            bool(called),
            f"{', '.join(sorted(called)[:3])} is called" if called else "none of them is called",
        )
    if when.hours is not None:
        open_now = within_hours(when.hours, facts.now)
        yield Check("hours", open_now, f"it is {'within' if open_now else 'outside'} the hours of {when.hours.tz}")
    if when.actors is not None:
        yield Check("actors", facts.actor in when.actors, f"the caller is {facts.actor}")
    if when.clients is not None:
        yield _client_check(when.clients, facts.client)


def _table_checks(rule: Rule, facts: Facts) -> Iterator[Check]:
    when = rule.when
    if when.no_tables:
        yield Check("no_tables", not facts.reached, _tables(facts.reached) + " reached" if facts.reached else "none")
    for fact, listed in (("only_tables", when.only_tables), ("only_schemas", when.only_schemas)):
        if listed is None:
            continue
        asked = facts.reached - facts.metadata
        stray = {each for each in asked if (each if fact == "only_tables" else _schema(each)) not in listed}
        if not facts.reached:
            # "Everything is listed" is true of nothing at all: without this, a statement that names no table and
            # calls a function would be let through by any rule.
            yield Check(fact, False, "no table is reached")
        else:
            yield Check(fact, not stray, f"{_tables(stray)} not listed" if stray else "everything reached is listed")
    if when.any_tables is not None:
        hit = facts.reached & when.any_tables
        yield Check("any_tables", bool(hit), f"{_tables(hit)} reached" if hit else "none of them is reached")


def _probe_checks(rule: Rule, facts: Facts) -> Iterator[Check]:
    when = rule.when
    if when.probes_any is not None:
        yield _any("probes_any", when.probes_any, facts.probes, "probed")
    if when.probes_only is not None:
        yield _only("probes_only", when.probes_only, facts.probes, "probed")
    if not when.voices and facts.probed and rule.then is Effect.ALLOW:
        yield Check("probes", False, f"{named(facts.probes)}, and the rule lists no probes")


def _lookup_checks(rule: Rule, facts: Facts) -> Iterator[Check]:
    listed = rule.when.lookups
    if rule.opens:
        # An opening hold that does not cover a lookup still holds the statement; it merely opens nothing for it.
        if rule.then is Effect.ALLOW and not _lookups_covered(rule, facts):
            missing = facts.looked_up - (listed or frozenset())
            yield Check("lookups", False, f"{named(facts.lookups, missing)} is looked up and not listed")
    elif listed is not None:
        yield _any("lookups", listed, facts.lookups, "looked up")


def _lookups_covered(rule: Rule, facts: Facts) -> bool:
    return facts.looked_up <= (rule.when.lookups or frozenset())


def _any(fact: str, listed: frozenset[str], uses: tuple[Use, ...], verb: str) -> Check:
    hit = {use.category for use in uses} & listed
    return Check(fact, bool(hit), named(uses, hit) if hit else f"none of {', '.join(sorted(listed))} is {verb}")


def _only(fact: str, listed: frozenset[str], uses: tuple[Use, ...], verb: str) -> Check:
    stray = {use.category for use in uses} - listed
    return Check(fact, not stray, f"{named(uses, stray)} is not listed" if stray else f"all that is {verb} is listed")


def _client_check(listed: frozenset[str], client: str | None) -> Check:
    # Only deny and hold rules ask, and the name is the client's own word: one that gives none is taken for listed.
    if client is None or not client.strip():
        return Check("clients", True, "the client gives no name")
    hit = client.strip().casefold() in {each.casefold() for each in listed}
    return Check("clients", hit, "the client is listed" if hit else "the client is another")


def within_hours(hours: Hours, now: datetime) -> bool:
    """Whether an aware time falls into the window; the day is the one on which the window opened."""
    local = now.astimezone(ZoneInfo(hours.tz))
    minute = local.hour * 60 + local.minute
    if hours.opens < hours.closes:
        return hours.opens <= minute < hours.closes and local.weekday() in hours.days
    if minute >= hours.opens:
        return local.weekday() in hours.days
    yesterday = (local.date() - timedelta(days=1)).weekday()
    return minute < hours.closes and yesterday in hours.days


def _schema(relation: str) -> str | None:
    """The schema of ``schema.table``; None where a dot in a name leaves it open which part is which."""
    schema, _, table = relation.partition(".")
    return None if "." in table else schema


def _tables(relations: Iterable[str]) -> str:
    listed = sorted(relations)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{', '.join(listed[:3])}{more} {'is' if len(listed) == 1 else 'are'}"
