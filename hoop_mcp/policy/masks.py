"""Which operator each output column gets: the heaviest that a matching rule asks for, else redact.

Directions, each the stricter one:

* Rules that open the way are heard first; where none of them names a category it is redacted. A hold that only tightens
  (it names no tables, or speaks for no probe of a statement that probes) can then make the mask heavier, never lighter,
  so that adding one never shows more.
* Two rules that ask for the same operator with other options disagree on how much may be seen: the column is redacted.
* A column fed by several sources keeps its values only if every category of them may be kept. Otherwise an operator
  lighter than redact stands only where all sources are of one category and one known entity (a COALESCE of two e-mail
  columns): cutting a mixture to its first letters hides no known part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hoop_mcp.terms import ColumnMask, Effect, Form, MaskOption, Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.policy.facts import Facts, Shown
    from hoop_mcp.policy.matching import Hearing


class Choice(NamedTuple):
    """The operator of one category, with the rule that asked for it; None for the default."""

    operator: Operator
    options: tuple[MaskOption, ...] = ()
    rule: str | None = None


DEFAULT = Choice(Operator.REDACT)
"""For a category no rule speaks about."""


def column_masks(hearings: Sequence[Hearing], facts: Facts) -> tuple[ColumnMask | None, ...]:
    """One place per output column: None where nothing personal reaches it."""
    choices = {category: choose(hearings, category) for category in facts.shown}
    return tuple(_mask(column, choices) for column in facts.columns)


def choose(hearings: Sequence[Hearing], category: str) -> Choice:
    """The operator of one category among the rules that matched."""
    having_say = [hearing for hearing in hearings if hearing.matched and hearing.rule.then is not Effect.DENY]
    opening = _asked([hearing for hearing in having_say if hearing.opens], category)
    tightening = _asked([hearing for hearing in having_say if not hearing.opens], category)
    return _heaviest([*(opening or [DEFAULT]), *tightening])


def _asked(hearings: Sequence[Hearing], category: str) -> list[Choice]:
    asked = ((hearing.rule.id, hearing.rule.mask_for(category)) for hearing in hearings)
    return [Choice(mask.operator, mask.options, rule) for rule, mask in asked if mask is not None]


def _heaviest(choices: Sequence[Choice]) -> Choice:
    operator = max(choice.operator for choice in choices)
    heaviest = sorted(choice for choice in choices if choice.operator is operator and choice.rule is not None)
    if not heaviest:
        return DEFAULT  # only the default itself has no rule
    if len({choice.options for choice in heaviest}) > 1:
        return DEFAULT if operator < Operator.REDACT else Choice(operator, (), heaviest[0].rule)
    return heaviest[0]


def _mask(column: Shown, choices: dict[str, Choice]) -> ColumnMask | None:
    if not column.uses:
        return None
    categories = sorted({use.category for use in column.uses})
    entities = {use.entity for use in column.uses}
    entity = next(iter(entities)) if len(entities) == 1 else None
    picked = [choices[category] for category in categories]
    choice = _heaviest(picked)
    alike = len(categories) == 1 and (len(column.uses) == 1 or entity is not None)
    kept = all(each.operator is Operator.KEEP for each in picked)
    if not kept and not alike and choice.operator < Operator.REDACT:
        choice = DEFAULT
    operator = _on_form(choice.operator, column)
    options = choice.options if operator is choice.operator else ()
    constant = operator is Operator.REDACT and column.form is not Form.STORED
    return ColumnMask(operator, ", ".join(categories), entity, choice.rule, options, constant)


def _on_form(operator: Operator, column: Shown) -> Operator:
    """The operator a column's form allows: the lighter ones are judged on stored values, and stand on those only."""
    if column.form is not Form.STORED and Operator.KEEP < operator < Operator.REDACT:
        return Operator.REDACT
    if operator is Operator.KEEP and column.form is Form.COMPUTED and any(use.entity is None for use in column.uses):
        return Operator.REDACT  # free text is kept because it is read for what must not be; computed, it cannot be
    return operator
