"""What an answer says: the JSON an agent gets, with each column's mask and why, and one short sentence beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hoop_mcp.terms import Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.masking.apply import Masked
    from hoop_mcp.terms import Analysis, Decision, JsonValue


def answer_body(
    call_id: str, database: str, analysis: Analysis, decision: Decision, masked: Masked, rows: int, *, truncated: bool
) -> bytes:
    """The answer as it will be sent, without its receipt."""
    return orjson.dumps(
        {
            "status": "ok",
            "call_id": call_id,
            "database": database,
            "columns": described_columns(analysis, decision, masked.names),
            "rows": orjson.Fragment(masked.body_rows),
            "row_count": rows,
            "truncated": truncated,
            "notices": _notices(decision, masked, rows, truncated=truncated),
        }
    )


def described_columns(analysis: Analysis, decision: Decision, names: Sequence[str]) -> list[dict[str, JsonValue]]:
    """Each output column: its name as it may be shown, its type, its category and its mask."""
    told: list[dict[str, JsonValue]] = []
    masks = decision.masks or (None,) * len(analysis.columns)
    for name, column, mask in zip(names, analysis.columns, masks, strict=True):
        told.append(
            {
                "name": name,
                "type": column.type_name,
                "category": mask.category if mask else None,
                "mask": mask.operator.name.lower() if mask else None,
            }
        )
    return told


def _notices(decision: Decision, masked: Masked, rows: int, *, truncated: bool) -> list[str]:
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
    if truncated:
        notices.append(f"There are more than these {rows} rows. Narrow the statement, or ask for more with max_rows.")
    return notices


def _detected(decision: Decision, place: int) -> bool:
    """Whether what was masked in a column was found by value, not traced to the catalogue."""
    mask = decision.masks[place] if place < len(decision.masks) else None
    return mask is None or mask.operator is Operator.KEEP


def summary(rows: int, decision: Decision) -> str:
    """The short text beside the structured answer."""
    masked = sum(1 for mask in decision.masks if mask is not None and mask.operator is not Operator.KEEP)
    return f"{rows} rows, {masked} of {len(decision.masks)} columns masked"
