"""One statement assessed and not run: what ``policy explain`` and ``policy test`` ask of whoever can analyse SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hoop_mcp.terms import Decision, Effect, Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.errors import Refused
    from hoop_mcp.policy.facts import Facts
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.terms import JsonValue


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks: ``purpose`` and ``database`` are None where there is only one that could be meant."""

    role: str
    purpose: str | None = None
    database: str | None = None
    reason: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The decision, with the facts it was made from; ``facts`` is None where the statement never reached policy.

    ``plan`` is whether the statement is explained: its columns are judged, and the answer's one column is the plan.
    ``parameters`` is how many the statement takes and nobody gave: the verdict does not depend on them, running it does.
    """

    decision: Decision
    facts: Facts | None = None
    plan: bool = False
    parameters: int = 0

    @classmethod
    def refused(cls, refusal: Refused) -> Assessment:
        """A statement refused before policy was asked: by the reader, the resolver or the tracer."""
        decision = Decision(
            effect=Effect.DENY, rules=(), because=(refusal.reason,), code=refusal.code, instead=refusal.instead
        )
        return cls(decision)

    @property
    def masked(self) -> tuple[int, ...]:
        """The output columns (0-based) whose values are not shown as they are, by lineage."""
        return tuple(
            index
            for index, mask in enumerate(() if self.plan else self.decision.masks)
            if mask is not None and mask.operator is not Operator.KEEP
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the output columns."""
        if self.plan:
            return ("QUERY PLAN",)
        return () if self.facts is None else tuple(column.name for column in self.facts.columns)

    def as_json(self, ident: JsonValue = None) -> dict[str, JsonValue]:
        """The object ``policy explain --json`` prints."""
        facts = self.facts
        relations: list[JsonValue] = [] if facts is None else [*sorted(facts.relations)]
        behind: list[JsonValue] = [] if facts is None else [*sorted(facts.behind)]
        probes: list[JsonValue] = [] if facts is None else [*sorted({str(use.column) for use in facts.probes})]
        return {
            "id": ident,
            "effect": self.decision.effect.name.lower(),
            "masked": list(self.masked),
            "columns": list(self.columns),
            "relations": relations,
            "behind": behind,
            "probes": probes,
            "rules": list(self.decision.rules),
            "because": list(self.decision.because),
            "code": self.decision.code,
        }


class Judge(Protocol):
    """Assesses statements against live catalogs and the policies in force; runs none of them."""

    @property
    def policies(self) -> PolicySet:
        """The policies that decide, for the trace."""
        ...

    async def assess(self, sql: str, params: Sequence[JsonValue], as_: Asking) -> Assessment:
        """Read, resolve, trace and decide one statement.

        An expected no is an Assessment (:meth:`Assessment.refused`); what broke raises.

        Raises:
            DatabaseUnavailable: nothing can be analysed now.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections, and the embedded server if one was started."""
        ...
