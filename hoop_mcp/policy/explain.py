"""A decision told rule by rule, with the place each is written; the evaluation is decide's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.policy.decide import judge
from hoop_mcp.policy.matching import hear
from hoop_mcp.policy.rules import Mode
from hoop_mcp.terms import Decision, Effect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hoop_mcp.policy.assessment import Assessment
    from hoop_mcp.policy.facts import Facts, Use
    from hoop_mcp.policy.matching import Hearing
    from hoop_mcp.policy.rules import Policy, PolicySet


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a statement uses, what every rule said, and what came of it."""

    facts: Facts
    policies: PolicySet
    hearings: tuple[Hearing, ...]
    decision: Decision

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        facts = self.facts
        yield f"shows      {_uses(facts.shows)}"
        yield f"probes     {_uses(facts.probes)}"
        if facts.lookups:
            yield f"looks up   {_uses(facts.lookups)}"
        tables = sorted(facts.relations) + [f"{relation} (behind)" for relation in sorted(facts.behind)]
        yield f"reaches    {' · '.join(tables) or 'no table'}"
        width = max((len(hearing.rule.id) for hearing in self.hearings), default=0)
        for policy in self.policies.policies:
            heard = [hearing for hearing in self.hearings if hearing.policy.name == policy.name]
            yield _heading(policy, facts, in_scope=bool(heard))
            for hearing in heard:
                answer = "YES" if hearing.matched else "no "
                why = hearing.why if not _holds_without_opening(hearing) else f"{hearing.why}; opens nothing here"
                yield f"  {answer}  {hearing.rule.id:<{width}}  {why:<56}  {hearing.rule.place}"
        yield from verdict_lines(self.decision)
        if self.decision.shadow is not None:
            yield "with the policies in observe mode it would be:"
            yield from (f"  {line}" for line in verdict_lines(self.decision.shadow))
        for column, mask in zip(facts.columns, self.decision.masks, strict=False):
            if mask is not None:
                by = f"rule {mask.rule}" if mask.rule else "no rule speaks about it"
                yield f"mask       {column.name}: {mask.operator.name.lower()} ({mask.category}; {by})"


def explain(policies: PolicySet, facts: Facts) -> Explanation:
    """Decide, and keep what every rule said."""
    hearings = hear(policies, facts)
    return Explanation(facts, policies, hearings, judge(hearings, facts))


def explained(policies: PolicySet, assessment: Assessment) -> str:
    """An assessment as text, also where the statement never reached policy."""
    if assessment.facts is None:
        return "\n".join(verdict_lines(assessment.decision))
    lines = [str(explain(policies, assessment.facts))]
    if (count := assessment.parameters) > 0:
        some = "1 parameter, which was" if count == 1 else f"{count} parameters, which were"
        lines.append(f"takes      {some} not given; the verdict does not depend on them")
    return "\n".join(lines)


def verdict_lines(decision: Decision) -> Iterable[str]:
    """``DENY   Card and bank data are out of scope …``, and what to do instead."""
    word = decision.effect.name
    for because in decision.because or ("",):
        yield f"{word:<9}  {because}".rstrip()
        word = ""
    if decision.code is not None:
        yield f"{decision.code:<9}  {decision.instead}".rstrip()


def _heading(policy: Policy, facts: Facts, *, in_scope: bool) -> str:
    mode = " (observed only)" if policy.mode is Mode.OBSERVE else ""
    if in_scope:
        return f"policy {policy.name}{mode}: role {facts.role}, purpose {facts.purpose}"
    if facts.database not in policy.databases:
        return f"policy {policy.name}{mode} speaks of other databases"
    if facts.role not in policy.roles:
        return f"policy {policy.name}{mode} speaks of other roles than {facts.role}"
    return f"policy {policy.name}{mode} speaks of other purposes than {facts.purpose}"


def _holds_without_opening(hearing: Hearing) -> bool:
    return hearing.matched and hearing.rule.then is Effect.HOLD and not hearing.opens


def _uses(uses: Iterable[Use]) -> str:
    return " · ".join(f"{use.column} ({use.category})" for use in uses) or "nothing personal"
