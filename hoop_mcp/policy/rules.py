"""Policies as the decision point uses them: frozen, checked, without a trace of YAML.

Whatever order files, policies and rules are read in, a :class:`PolicySet` is the same: it sorts, and its digest is over
what the rules mean, not how or where they were written.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from hoop_mcp.terms import Budget, Effect, Limits, MaskOption, Operator, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hoop_mcp.terms import JsonValue, Principal

Names = frozenset[str]


class Mode(StrEnum):
    """``observe`` decides and is journaled beside the real decision; it changes no answer."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Hours:
    """A daily window on the wall clock of ``tz`` (an IANA name), from ``opens`` up to but not including ``closes``.

    Minutes after midnight; a window that closes at or before its opening runs over midnight. ``days`` (Monday is 0)
    are those on which the window opens.
    """

    opens: int
    closes: int
    tz: str
    days: frozenset[int]


@dataclass(frozen=True, slots=True)
class When:
    """The facts a rule asks for; None where it does not ask. All of them must be true."""

    kind: frozenset[Verb] | None = None
    only_tables: Names | None = None
    only_schemas: Names | None = None
    no_tables: bool = False
    any_tables: Names | None = None
    shows_any: Names | None = None
    shows_only: Names | None = None
    probes_any: Names | None = None
    probes_only: Names | None = None
    touches_any: Names | None = None
    lookups: Names | None = None
    functions_any: Names | None = None
    hours: Hours | None = None
    actors: Names | None = None
    clients: Names | None = None

    @property
    def names_tables(self) -> bool:
        """Whether the rule says which tables it opens; one that does not can only tighten."""
        return self.only_tables is not None or self.only_schemas is not None or self.no_tables

    @property
    def voices(self) -> Names:
        """The categories whose probes the rule speaks for."""
        return (self.probes_any or frozenset()) | (self.probes_only or frozenset())


@dataclass(frozen=True, slots=True)
class MaskChoice:
    """What a rule asks for one category."""

    category: str
    operator: Operator
    options: tuple[MaskOption, ...] = ()


@dataclass(frozen=True, slots=True)
class Require:
    """What the call must bring along: any reason, or one in which ``ticket`` (a regular expression) is found."""

    reason: bool = False
    ticket: str | None = None


NO_LIMITS = Limits()
NOTHING_REQUIRED = Require()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``file`` and ``line`` are where it is written, no part of what it means."""

    id: str
    when: When
    then: Effect
    because: str
    masks: tuple[MaskChoice, ...] = ()
    limits: Limits = NO_LIMITS
    budget: Budget | None = None
    reviewers: Names = frozenset()
    require: Require = NOTHING_REQUIRED
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def opens(self) -> bool:
        """Whether the rule can open a way at all: an allow, or a hold that says for which tables."""
        return self.then is not Effect.DENY and self.when.names_tables

    @property
    def place(self) -> str:
        """``support.yaml:11``."""
        return f"{self.file}:{self.line}"

    def mask_for(self, category: str) -> MaskChoice | None:
        """The rule's say on a category; None where it does not name it."""
        return next((choice for choice in self.masks if choice.category == category), None)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules with the calls they speak about. ``purposes`` is None in a policy of deny rules that applies to any."""

    name: str
    owner: str
    databases: Names
    roles: Names
    purposes: Names | None
    rules: tuple[Rule, ...]
    mode: Mode = Mode.ENFORCE
    file: str = field(default="", compare=False)

    def speaks_of(self, database: str, role: str, purpose: str) -> bool:
        """Whether a call is in the policy's scope."""
        return database in self.databases and role in self.roles and (self.purposes is None or purpose in self.purposes)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies, sorted by name with their rules sorted by id. ``digest`` is hex SHA-256 of what they mean."""

    policies: tuple[Policy, ...] = ()
    digest: str = ""

    @classmethod
    def of(cls, policies: Iterable[Policy]) -> PolicySet:
        """Sort and digest."""
        ordered = tuple(sorted((_sorted(policy) for policy in policies), key=lambda policy: policy.name))
        meaning = json.dumps(_meaning(ordered), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return cls(ordered, hashlib.sha256(meaning.encode()).hexdigest())

    def in_scope(self, database: str, role: str, purpose: str) -> tuple[Policy, ...]:
        """The policies that speak about a call."""
        return tuple(policy for policy in self.policies if policy.speaks_of(database, role, purpose))

    def budgets_of(self, principal: Principal) -> tuple[Budget, ...]:
        """The budgets that may count for a principal, by rule, whichever of its roles and purposes a call names."""
        return tuple(
            rule.budget
            for policy in self.policies
            if policy.mode is Mode.ENFORCE and policy.roles & set(principal.roles)
            if policy.purposes is None or policy.purposes & set(principal.purposes)
            for rule in policy.rules
            if rule.budget is not None
        )


def _sorted(policy: Policy) -> Policy:
    rules = (
        replace(
            rule,
            masks=tuple(
                replace(choice, options=tuple(sorted(choice.options)))
                for choice in sorted(rule.masks, key=lambda choice: choice.category)
            ),
        )
        for rule in policy.rules
    )
    return replace(policy, rules=tuple(sorted(rules, key=lambda rule: rule.id)))


def _meaning(value: object) -> JsonValue:
    """A value as canonical JSON: sets sorted (tuples are already), enums by name, places left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _meaning(getattr(value, each.name)) for each in fields(value) if each.compare}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, frozenset):
        return sorted((_meaning(each) for each in value), key=str)
    if isinstance(value, tuple):
        return [_meaning(each) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"no canonical form for {type(value).__name__}")
