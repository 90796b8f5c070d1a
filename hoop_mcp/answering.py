"""What an answer says: the JSON an agent gets, with each column's mask and why, and one short sentence beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hoop_mcp.terms import Effect, Operator

MOST_ROWS = 1_000
"""Of one answer, where no rule says less."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.limits.sieve import Sieve
    from hoop_mcp.masking.apply import Masked
    from hoop_mcp.sql.plans import PlanForm
    from hoop_mcp.terms import Analysis, Decision, JsonValue


def answer_body(
    call_id: str,
    database: str,
    analysis: Analysis,
    decision: Decision,
    masked: Masked,
    rows: int,
    *,
    truncated: bool,
    further: Sequence[str] = (),
    asked: int | None = None,
) -> bytes:
    """The answer as it will be sent, without its receipt.

    *further* are notices of the caller's; *asked* is how many rows would have been given, had they fitted.
    """
    return orjson.dumps(
        {
            "status": "ok",
            "call_id": call_id,
            "database": database,
            "columns": described_columns(analysis, decision, masked.names),
            "rows": orjson.Fragment(masked.body_rows),
            "row_count": rows,
            "truncated": truncated,
            "notices": [*_notices(decision, masked, rows), *_cut(decision, rows, asked, truncated), *further],
        }
    )


def described_columns(analysis: Analysis, decision: Decision, names: Sequence[str]) -> list[dict[str, JsonValue]]:
    """Each output column: its name as it may be shown, its type, and unless the answer is no, its category and mask."""
    told: list[dict[str, JsonValue]] = []
    masks = decision.masks or (None,) * len(analysis.columns)
    for name, column, mask in zip(names, analysis.columns, masks, strict=True):
        if decision.effect is Effect.DENY:  # "mask": null would say that it is shown as it is
            told.append({"name": name, "type": column.type_name})
            continue
        told.append(
            {
                "name": name,
                "type": column.type_name,
                "category": mask.category if mask else None,
                "mask": mask.operator.name.lower() if mask else None,
            }
        )
    return told


def _notices(decision: Decision, masked: Masked, rows: int) -> list[str]:
    notices: list[str] = []
    by_rule: dict[str | None, int] = {}
    for mask in decision.masks:
        if mask is not None and mask.operator is not Operator.KEEP:
            by_rule[mask.rule] = by_rule.get(mask.rule, 0) + 1
    because = dict(zip(decision.rules, decision.because, strict=False))
    for rule, count in by_rule.items():
        why = f"by rule {rule}: {because[rule]}" if rule in because else "because no rule keeps its category"
        notices.append(f"{count} of {len(decision.masks)} columns {'is' if count == 1 else 'are'} masked {why}")
    found = sum(count.cells for count in masked.counts if _detected(decision, count.column))
    if found:
        notices.append(
            f"{found} further cells held what looks personal; placeholders such as [EMAIL_ADDRESS] stand there"
        )
    computed = [name for name, mask in zip(masked.names, decision.masks, strict=False) if mask and mask.constant]
    if computed and rows:
        which = ", ".join(computed[:4]) + (" and others" if len(computed) > 4 else "")
        notices.append(
            f"{which}: what is computed from personal data is redacted to one constant; select the plain column for its mask"
        )
    return notices


def _cut(decision: Decision, rows: int, asked: int | None, truncated: bool) -> list[str]:
    """Why there are more rows than were given, with the advice that helps: a limit of a rule is not the agent's to lift."""
    if not truncated:
        return []
    more = f"There are more than {_rows(rows, 'this', 'these')}"
    if decision.limits.max_rows is not None and rows >= decision.limits.max_rows:
        rule = f"rule {decision.rules[0]} allows" if len(decision.rules) == 1 else f"{_named(decision.rules)} allow"
        most = decision.limits.max_rows
        return [
            f"{more}; {rule} no more than {most:,} in one answer. Narrow the statement, or go on from the last row."
        ]
    if asked is not None and rows < asked:
        return [f"{more}; the answer was cut at its largest size. Select fewer columns, or go on from the last row."]
    if rows >= MOST_ROWS:
        return [f"{more}, and no answer has more than {MOST_ROWS:,}. Narrow the statement, or go on from the last row."]
    return [f"{more}. Narrow the statement, or ask for more with max_rows."]


def _named(rules: Sequence[str]) -> str:
    return f"the rules {', '.join(rules)}" if rules else "the rules"


def _rows(count: int, one: str = "", many: str = "") -> str:
    if count == 1:
        return f"{one} 1 row".lstrip()
    return f"{many} {count:,} rows".lstrip()


def _detected(decision: Decision, place: int) -> bool:
    """Whether what was masked in a column was found by value, not traced to the catalogue."""
    mask = decision.masks[place] if place < len(decision.masks) else None
    return mask is None or mask.operator is Operator.KEEP


def plan_notices(form: PlanForm, omitted: Sequence[str]) -> tuple[str, ...]:
    """What a plan leaves out, and why."""
    notices = ["A plan is told as text, without costs, timing, buffers or statistics."]
    if omitted:
        notices.append(f"These options of EXPLAIN were left out: {', '.join(omitted)}.")
    if form.outlined:
        notices.append(
            "Only the kinds of the plan's nodes are shown: the statement involves what it does not name itself, such as "
            "what is behind a view, partitions or row security."
        )
    if form.measured:
        notices.append("The statement was run to count its rows; none of them is shown.")
    return tuple(notices)


def limit_notices(sieve: Sieve | None, asked: int, allowed: int) -> tuple[str, ...]:
    """What limits did to an answer: a minimum group, and a budget with fewer rows left than were asked for."""
    notices = [] if sieve is None else [sieve.notice]
    if allowed < asked:
        notices.append(f"A budget of yours had {allowed} rows left, and no more were read; whoami tells what is left.")
    return tuple(notices)


def summary(rows: int, decision: Decision) -> str:
    """The short text beside the structured answer."""
    masked = sum(1 for mask in decision.masks if mask is not None and mask.operator is not Operator.KEEP)
    return f"{_rows(rows)}, {masked} of {len(decision.masks)} columns masked"
