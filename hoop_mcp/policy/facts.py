"""What a rule can know about a call: the analysed statement seen through the catalogue, and who asks when and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hoop_mcp.terms import Form

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.terms import Analysis, ColumnRef, Groups, Mandate, Principal, Verb


class Use(NamedTuple):
    """A personal column the statement uses, with what the catalogue says it holds."""

    column: ColumnRef
    category: str
    entity: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One output column and the personal columns whose values can reach it."""

    name: str
    uses: tuple[Use, ...] = ()
    form: Form = Form.STORED


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything :func:`hoop_mcp.policy.decide.decide` may look at, and nothing else.

    ``relations`` are named in the statement and ``behind`` reached through views, both as ``schema.table``;
    ``metadata`` are those of them the product vouches for. ``probes`` and ``lookups`` are sorted by column.
    ``now`` is aware. ``reason`` is the agent's and may hold anything. ``locks`` is whether rows are locked.
    ``functions`` are called, users' own as ``schema.name(type,type)``, those that a function in SQL calls among them.
    ``groups`` says of how many people the rows are made, None where nothing is aggregated over people.
    """

    database: str
    role: str
    purpose: str
    actor: str
    client: str | None
    verb: Verb
    relations: frozenset[str]
    behind: frozenset[str]
    metadata: frozenset[str]
    restricted: frozenset[str]
    columns: tuple[Shown, ...]
    probes: tuple[Use, ...]
    lookups: tuple[Use, ...]
    now: datetime
    reason: str | None = field(default=None, repr=False)
    locks: bool = False
    functions: frozenset[str] = frozenset()
    groups: Groups | None = None

    @property
    def reached(self) -> frozenset[str]:
        """Every relation, named or behind."""
        return self.relations | self.behind

    @property
    def shows(self) -> tuple[Use, ...]:
        """Every use that reaches an output column, sorted, each once."""
        return tuple(sorted({use for column in self.columns for use in column.uses}, key=_by_column))

    @property
    def shown(self) -> frozenset[str]:
        """The categories that reach an output column."""
        return frozenset(use.category for column in self.columns for use in column.uses)

    @property
    def probed(self) -> frozenset[str]:
        """The categories that steer rows, order, number or errors."""
        return frozenset(use.category for use in self.probes)

    @property
    def looked_up(self) -> frozenset[str]:
        """The categories compared for equality with constants."""
        return frozenset(use.category for use in self.lookups)

    @property
    def touched(self) -> frozenset[str]:
        """Shown, probed or looked up."""
        return self.shown | self.probed | self.looked_up


def facts(
    analysis: Analysis,
    catalogue: Catalogue,
    *,
    principal: Principal,
    mandate: Mandate,
    database: str,
    now: datetime,
    reason: str | None = None,
    metadata: frozenset[str] = frozenset(),
) -> Facts:
    """See an analysed statement through the catalogue.

    A lookup of a column that the catalogue does not call one counts as a probe, which needs a voice: the two must
    agree before the milder rule holds. Columns of a metadata relation are not personal unless the catalogue names
    them, since such a relation is vouched for with its harmless columns only.

    Args:
        analysis: how the statement uses the data.
        catalogue: the database's.
        principal: who asks.
        mandate: the one role and purpose of the call.
        database: its name in the settings.
        now: an aware time.
        reason: the call's own words.
        metadata: the relations among those reached that the product vouches for.

    Raises:
        ValueError: ``now`` has no time zone.
    """
    if now.utcoffset() is None:
        raise ValueError("now needs a time zone")

    def uses(refs: Iterable[ColumnRef]) -> tuple[Use, ...]:
        found = set()
        for ref in refs:
            held = catalogue.classify(ref)
            if held.personal and (ref.relation not in metadata or catalogue.names(ref)):
                found.add(Use(ref, held.category, held.entity))
        return tuple(sorted(found, key=_by_column))

    agreed = frozenset(ref for ref in analysis.lookups if catalogue.classify(ref).lookup)
    reached = analysis.relations | analysis.behind
    return Facts(
        database=database,
        role=mandate.role,
        purpose=mandate.purpose,
        actor=principal.actor,
        client=None if principal.client is None else principal.client.name,
        verb=analysis.verb,
        relations=analysis.relations,
        behind=analysis.behind,
        metadata=metadata & reached,
        restricted=frozenset(relation for relation in reached if catalogue.restricted(relation)),
        columns=tuple(Shown(column.name, uses(column.sources), column.form) for column in analysis.columns),
        probes=uses(analysis.probes | (analysis.lookups - agreed)),
        lookups=uses(agreed),
        now=now,
        reason=reason,
        locks=analysis.locks,
        functions=analysis.functions,
        groups=analysis.groups,
    )


def _by_column(use: Use) -> tuple[ColumnRef, str]:
    return (use.column, use.category)
