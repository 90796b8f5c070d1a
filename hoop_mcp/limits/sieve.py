"""The minimum group size, kept on the result: rows made of too few people never leave the database's side.

Rows are looked at before they are masked, counted or cut to a limit, so that a row that is withheld leaves no trace in
what the agent sees: not in the number of rows, not in where an answer ends. The notice about it is the same whether or
not anything was withheld: that something was would itself say that there is somebody. The journal keeps the number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.terms import Analysis, Decision


class Sieve:
    """Lets a row through if each of its counts of people reaches the minimum. One for one answer."""

    def __init__(self, counted: Sequence[int], least: int) -> None:
        """*counted* are the columns (0-based) that count people; *least* is the minimum.

        Raises:
            ValueError: there is no such column: every row would pass.
        """
        if not counted:
            raise ValueError("a sieve needs a count to look at")
        self._counted = tuple(counted)
        self.least = least
        self.withheld = 0

    def __call__(self, row: Sequence[str | None]) -> bool:
        """Whether the row may be seen."""
        if all(_number(row[place]) >= self.least for place in self._counted):
            return True
        self.withheld += 1
        return False

    @property
    def notice(self) -> str:
        """What the agent is told, whether or not any row was withheld."""
        return f"Groups of fewer than {self.least} people are not shown; whether there are any is not said."


def sieve_for(analysis: Analysis, decision: Decision) -> Sieve | None:
    """The sieve an answer must pass, None where no minimum applies.

    Raises:
        Refused: HOOP313, a minimum applies and nothing counts the people: policy denies that before it comes here.
    """
    least = decision.limits.min_group
    if least is None or analysis.groups is None:
        return None
    if not analysis.groups.counted:
        raise Refused("HOOP313", "The people of each row cannot be counted.", analysis.groups.instead or None)
    return Sieve(analysis.groups.counted, least)


def _number(cell: str | None) -> int:
    """A count as PostgreSQL prints it; what is not one counts nobody."""
    return int(cell) if cell is not None and cell.isascii() and cell.isdigit() else 0
