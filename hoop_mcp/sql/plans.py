"""How much of a plan an agent may see, and the plan cut down to that.

A plan is made from more than the statement: the planner chooses by the statistics of columns (how many, how frequent,
between which bounds), which for a personal column are personal data; it prints conditions of views, of row security and
of functions, and the names of children, which the agent may not know; and where the statement is run for it
(ANALYZE), it counts. So:

* where anything personal steers the statement, be it by a lookup, no plan is told: its shape answers questions about
  what is there;
* where carrying the statement out involves what it does not name, only the kinds of the plan's nodes are told;
* what is measured is told only of a statement that touches nothing personal, and of that only rows: pages, memory and
  time depend on what else is stored in the same rows. Where it involves what it does not name, only its own rows are
  told, which it would have given anyway, not those of a node behind a view or of a partition.

Known limit: the size of a table's file, to which wide personal values contribute, takes part in the planner's choice.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.terms import Analysis, Limits

_ALWAYS_OFF = "COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF"
MOST_LINES = 500


class PlanForm(StrEnum):
    """The forms; the value is the list of options PostgreSQL is given. The two that are measured run the statement."""

    WHOLE = _ALWAYS_OFF
    OUTLINE = f"{_ALWAYS_OFF}, FORMAT JSON"
    MEASURED = f"ANALYZE, {_ALWAYS_OFF}"
    MEASURED_OUTLINE = f"ANALYZE, {_ALWAYS_OFF}, FORMAT JSON"

    @property
    def outlined(self) -> bool:
        """Whether only the kinds of nodes are told."""
        return self in (PlanForm.OUTLINE, PlanForm.MEASURED_OUTLINE)

    @property
    def measured(self) -> bool:
        """Whether the statement is run."""
        return self in (PlanForm.MEASURED, PlanForm.MEASURED_OUTLINE)


def plan_form(analysis: Analysis, limits: Limits, *, analyze: bool) -> PlanForm:
    """The form in which the plan of an allowed statement may be told.

    Raises:
        Refused: HOOP219, none.
    """
    if analysis.probes or analysis.lookups:
        raise Refused(
            "HOOP219",
            "Personal data steers the statement, and its plan would tell of the statistics of that data.",
            "Send the statement without EXPLAIN, or explain one that selects by a key that is not personal.",
        )
    if not analyze:
        return PlanForm.OUTLINE if analysis.unnamed else PlanForm.WHOLE
    if analysis.personal:
        raise Refused(
            "HOOP219",
            "EXPLAIN ANALYZE measures a run, and what it would measure here comes from personal data.",
            "Send EXPLAIN without ANALYZE, or leave the personal columns out.",
        )
    if limits.min_group is not None:
        raise Refused(
            "HOOP219",
            "EXPLAIN ANALYZE counts rows, and policy shows no counts of small groups here.",
            "Send EXPLAIN without ANALYZE.",
        )
    return PlanForm.MEASURED_OUTLINE if analysis.unnamed else PlanForm.MEASURED


def told(form: PlanForm, lines: Sequence[str]) -> list[str]:
    """What of PostgreSQL's answer to ``EXPLAIN (form)`` is told, line by line.

    Raises:
        Refused: HOOP219, the plan is not in the form PostgreSQL prints.
    """
    match form:
        case PlanForm.WHOLE:
            return list(lines)
        case PlanForm.OUTLINE | PlanForm.MEASURED_OUTLINE:
            return _outline("\n".join(lines), counted=form.measured)
        case PlanForm.MEASURED:
            return [line for place, line in enumerate(lines) if place == 0 or _ROWS_ONLY.match(line)]


_ROWS_ONLY = re.compile(
    r"""\s*(?:
        -> | (?:InitPlan|SubPlan)\ | CTE\ \S
      | (?:Filter|Join\ Filter|Index\ Cond|Recheck\ Cond|Hash\ Cond|Merge\ Cond|TID\ Cond|One-Time\ Filter|Order\ By
          |Sort\ Key|Presorted\ Key|Group\ Key|Hash\ Key|Cache\ Key|Window|Run\ Condition
          |Rows\ Removed\ by\ (?:Filter|Join\ Filter)|Workers\ Planned|Single\ Copy):
    )""",
    re.VERBOSE,
)
"""Lines of a measured plan that depend on nothing but the statement and the rows it may see; any other is left out."""


def _outline(text: str, *, counted: bool) -> list[str]:
    """The kinds of nodes, which PostgreSQL takes from a fixed list of its own, indented as it indents them.

    Where it was *counted*, with the rows of the statement itself, which are those of the first node.
    """
    try:
        (top,) = json.loads(text)
        waiting: list[tuple[int, Any]] = [(0, top["Plan"])]
        lines: list[str] = []
        while waiting:
            depth, node = waiting.pop()
            lines.append(f"{'      ' * (depth - 1)}  ->  {node['Node Type']}" if depth else str(node["Node Type"]))
            waiting.extend((depth + 1, inner) for inner in reversed(node.get("Plans", ())))
        if counted:
            lines[0] += f" (actual rows={int(top['Plan']['Actual Rows'])})"
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused("HOOP219", "PostgreSQL printed a plan that this gateway cannot read.") from None
    return lines
