"""The policy decision point: policies and facts in, one Decision out. Pure; the same input gives the same decision.

The order of the questions is the order of strictness:

1. A restricted table denies, whatever any rule says.
2. A matching deny denies.
3. Nothing that opens the way denies: no rule means no.
4. A probed category that no opening rule speaks for denies.
5. A reason or ticket that a matching rule requires and the call lacks denies, until the call brings it.
6. A count that asks about one person denies; so does a minimum group size, where the statement does not say of how many
   people its rows are made.
7. A matching hold holds; so do row locks (FOR UPDATE, FOR SHARE) by themselves, since PostgreSQL asks the right to
   write for them and they stop others, whatever a rule for reading says.
8. Otherwise the call is allowed.

What a refusal says names roles, categories, and the tables and columns the statement itself names. Tables behind views
are not named: the agent may not know them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hoop_mcp.errors import CODES
from hoop_mcp.policy.masks import column_masks
from hoop_mcp.policy.matching import hear
from hoop_mcp.policy.rules import Mode
from hoop_mcp.terms import Decision, Effect, Limits, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hoop_mcp.policy.facts import Facts, Use
    from hoop_mcp.policy.matching import Hearing
    from hoop_mcp.policy.rules import PolicySet, Rule
    from hoop_mcp.terms import Groups

MAX_REASON_SEARCHED = 500
"""Characters of a call's reason in which a ticket is looked for: the pattern is the owner's, the text the agent's."""


def decide(policies: PolicySet, facts: Facts) -> Decision:
    """What policy says about one analysed statement under one mandate."""
    return judge(hear(policies, facts), facts)


def judge(hearings: Sequence[Hearing], facts: Facts) -> Decision:
    """The decision from rules already heard; its shadow counts policies in observe mode as if they were enforced."""
    enforced = [hearing for hearing in hearings if hearing.policy.mode is Mode.ENFORCE]
    real = _judge(enforced, facts)
    if len(enforced) == len(hearings):
        return real
    shadow = _judge(hearings, facts)
    return Decision(
        effect=real.effect,
        rules=real.rules,
        because=real.because,
        masks=real.masks,
        limits=real.limits,
        code=real.code,
        instead=real.instead,
        reviewers=real.reviewers,
        budgets=real.budgets,
        shadow=shadow,
    )


def _judge(hearings: Sequence[Hearing], facts: Facts) -> Decision:
    matching = sorted((hearing for hearing in hearings if hearing.matched), key=lambda hearing: hearing.rule.id)
    if facts.restricted:
        return _deny("HOOP213", _restricted(facts))
    denies = [hearing for hearing in matching if hearing.rule.then is Effect.DENY]
    if denies:
        return _deny(
            "HOOP302", *(h.rule.because for h in denies), rules=_ids(denies), instead=_leave_out(denies, facts)
        )
    opening = [hearing for hearing in matching if hearing.opens]
    if not opening:
        return _unopened(hearings, facts)
    unspoken = facts.probed - frozenset[str]().union(*(hearing.rule.when.voices for hearing in opening))
    if unspoken:
        return _deny("HOOP312", _probing(facts, unspoken))
    lacking = [hearing for hearing in matching if not _brought(hearing.rule, facts)]
    if lacking:
        return _lacking(lacking)
    if facts.groups is not None and (small := _small_groups(matching, facts.groups)) is not None:
        return small
    holds = [hearing for hearing in matching if hearing.rule.then is Effect.HOLD]
    deciding = holds or matching
    because = tuple(hearing.rule.because for hearing in deciding)
    code, instead = _held(holds, facts) if holds else (None, "")
    if facts.locks and not holds:
        # No rule names who may approve a lock, so nobody can yet: the stricter reading until one can.
        because, code, instead = (_LOCKING,), "HOOP218", CODES["HOOP218"].instead
    return Decision(
        effect=Effect.HOLD if holds or facts.locks else Effect.ALLOW,
        rules=_ids(deciding),
        because=because,
        masks=column_masks(matching, facts),
        limits=_limits(matching),
        budgets=tuple(hearing.rule.budget for hearing in matching if hearing.rule.budget is not None),
        code=code,
        instead=instead,
        reviewers=tuple(sorted(frozenset[str]().union(*(hearing.rule.reviewers for hearing in holds)))),
    )


def _deny(code: str, *because: str, rules: tuple[str, ...] = (), instead: str | None = None) -> Decision:
    return Decision(effect=Effect.DENY, rules=rules, because=because, code=code, instead=instead or CODES[code].instead)


def _ids(hearings: Iterable[Hearing]) -> tuple[str, ...]:
    return tuple(hearing.rule.id for hearing in hearings)


def _limits(matching: Sequence[Hearing]) -> Limits:
    """The strictest of each among the rules that matched: the smallest, but the largest minimum group."""
    limits = [hearing.rule.limits for hearing in matching]

    def smallest(values: Iterable[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    return Limits(
        max_rows=smallest(each.max_rows for each in limits),
        max_bytes=smallest(each.max_bytes for each in limits),
        min_group=max((each.min_group for each in limits if each.min_group is not None), default=None),
        timeout_ms=smallest(each.timeout_ms for each in limits),
    )


def _small_groups(matching: Sequence[Hearing], groups: Groups) -> Decision | None:
    """A no where the people of a row are too few already by what the statement says, or cannot be counted."""
    if groups.single:
        return _deny(
            "HOOP313",
            "It counts what a key narrows to one row, so that the count answers a question about one person.",
            instead="Select the columns of that row instead of counting it.",
        )
    asking = [hearing for hearing in matching if hearing.rule.limits.min_group is not None]
    if not asking or groups.counted:
        return None
    least = _limits(asking).min_group
    told = f"Groups of fewer than {least} people are not shown, and {groups.uncounted}."
    return _deny("HOOP313", told, rules=_ids(asking), instead=groups.instead)


def _brought(rule: Rule, facts: Facts) -> bool:
    """Whether the call brings the reason and the ticket the rule requires."""
    reason = (facts.reason or "").strip()
    if rule.require.reason and not reason:
        return False
    ticket = rule.require.ticket
    return ticket is None or re.search(ticket, reason[:MAX_REASON_SEARCHED]) is not None


# What is said.

_LOCKING = "The statement locks rows, which changes what others may do; a person would have to decide."


def _restricted(facts: Facts) -> str:
    seen = sorted(facts.restricted & facts.relations)
    if seen:
        return f"{', '.join(seen)} {'is' if len(seen) == 1 else 'are'} out of bounds for every policy."
    return "A table behind what the statement names is out of bounds for every policy."


def _asker(facts: Facts) -> str:
    return f"role {facts.role} for {facts.purpose}"


def _spoken(uses: Iterable[Use], categories: frozenset[str], facts: Facts) -> str:
    """``contact data (customers.email)``, with the columns of tables the statement itself names."""
    chosen = [use for use in uses if use.category in categories]
    columns = sorted({f"{u.column.table}.{u.column.column}" for u in chosen if u.column.relation in facts.relations})
    told = " and ".join(sorted({use.category for use in chosen})) + " data"
    more = " and others" if len(columns) > 4 else ""
    return f"{told} ({', '.join(columns[:4])}{more})" if columns else told


def _probing(facts: Facts, categories: frozenset[str]) -> str:
    return (
        f"Filtering, sorting or grouping on {_spoken(facts.probes, categories, facts)} reveals it row by row, "
        f"and no rule lets {_asker(facts)} do that."
    )


def _unopened(hearings: Sequence[Hearing], facts: Facts) -> Decision:
    if not hearings:
        return _deny("HOOP301", f"No policy speaks for {_asker(facts)} on database {facts.database}.")
    candidates = [hearing for hearing in hearings if hearing.rule.opens]
    near = [hearing for hearing in candidates if hearing.shut_by_use]
    if near and facts.probed:
        return _deny("HOOP312", _probing(facts, facts.probed))
    if near and facts.looked_up:
        told = _spoken(facts.lookups, facts.looked_up, facts)
        return _deny("HOOP312", f"Looking people up by {told} is not open to {_asker(facts)}.")
    return _deny("HOOP301", _nearest(candidates, facts))


def _nearest(candidates: Sequence[Hearing], facts: Facts) -> str:
    """Why no rule opens the way: the tables if they are the cause, else what the nearest rule asked for."""
    of_kind = [h for h in candidates if h.rule.when.kind is None or facts.verb in h.rule.when.kind]
    if not of_kind:
        verb = "read" if facts.verb is Verb.READ else "write"
        return f"No rule lets {_asker(facts)} {verb} anything here."
    if not facts.reached:
        return f"The statement names no table, and no rule opens such a statement to {_asker(facts)}."
    out_of_reach = {"only_tables", "only_schemas", "no_tables"}
    if all(any(check.fact in out_of_reach for check in hearing.failures) for hearing in of_kind):
        open_tables = frozenset[str]().union(*(h.rule.when.only_tables or frozenset() for h in of_kind))
        by_schema = any(hearing.rule.when.only_schemas is not None for hearing in of_kind)
        closed = sorted((facts.relations - facts.metadata) - open_tables)
        if closed and not by_schema:
            return f"No rule opens {', '.join(closed)} to {_asker(facts)}."
        together = ", ".join(sorted(facts.relations - facts.metadata)) or "what it reaches"
        return f"No single rule opens all that the statement reaches ({together}) to {_asker(facts)}."
    nearest = min(of_kind, key=lambda hearing: (len(hearing.failures), hearing.rule.id))
    asked = ", ".join(check.fact for check in nearest.failures)
    return f"No rule opens this statement to {_asker(facts)}; the nearest, {nearest.rule.id}, asks for other {asked}."


def _leave_out(denies: Sequence[Hearing], facts: Facts) -> str | None:
    """What the denying rules hit, in names the statement used."""
    listed = frozenset[str]()
    tables = frozenset[str]()
    for hearing in denies:
        when = hearing.rule.when
        listed |= (when.touches_any or frozenset()) | (when.shows_any or frozenset()) | (when.probes_any or frozenset())
        tables |= (when.any_tables or frozenset()) & facts.relations
        tables |= (when.functions_any or frozenset()) & facts.functions
    uses = [use for use in (*facts.shows, *facts.probes, *facts.lookups) if use.category in listed]
    named = [_spoken(uses, listed, facts)] if uses else []
    named += sorted(tables)
    return f"Leave out {', '.join(named)}." if named else None


def _lacking(lacking: Sequence[Hearing]) -> Decision:
    ticket = any(hearing.rule.require.ticket is not None for hearing in lacking)
    what = "a ticket number in the reason of the call" if ticket else "a reason with the call"
    because = tuple(f"Rule {hearing.rule.id} requires {what}." for hearing in lacking)
    instead = (
        "Send the call again with the ticket number in reason."
        if ticket
        else "Send the call again and say in reason what it is needed for."
    )
    return _deny("HOOP106", *because, rules=_ids(lacking), instead=instead)


def _held(holds: Sequence[Hearing], facts: Facts) -> tuple[str, str]:
    """The code of a hold: probing has its own, since the agent can often ask for the same by a key."""
    who = " or ".join(sorted(frozenset[str]().union(*(hearing.rule.reviewers for hearing in holds)))) or "a reviewer"
    served = f"{who} would have to decide, and approvals are not served here yet."
    if facts.probed:
        served = f"This statement filters, sorts or groups on {_spoken(facts.probes, facts.probed, facts)}; {served}"
    if facts.probed and all(hearing.rule.when.voices for hearing in holds):
        return "HOOP312", f"{served} {CODES['HOOP312'].instead}"
    return "HOOP311", f"{served} {_leave_out(holds, facts) or CODES['HOOP311'].instead}"
