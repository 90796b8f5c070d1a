"""Many statements through the line, counted."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from property.noninterference.line import End
from property.noninterference.statements import statements

if TYPE_CHECKING:
    from collections.abc import Callable

    from property.noninterference.line import Line, Pair
    from property.noninterference.statements import Statement
    from property.noninterference.vocabulary import Vocabulary


@dataclass
class Tally:
    """How many statements came how far."""

    ends: Counter[End] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    different: list[tuple[Statement, Pair]] = field(default_factory=list)
    held: list[Statement] = field(default_factory=list)
    identical: int = 0
    masked: int = 0

    @property
    def generated(self) -> int:
        return self.ends.total()

    @property
    def parsed(self) -> int:
        return self.generated - self.ends[End.UNREAD]

    @property
    def allowed(self) -> int:
        return self.ends[End.ANSWERED] + self.ends[End.FAILED]

    def row(self) -> str:
        refused = self.ends[End.REFUSED] + self.ends[End.HELD]
        share = self.allowed / max(self.parsed, 1)
        return (
            f"{self.generated:>9} {self.parsed:>8} {self.allowed:>8} ({share:>4.0%}) {self.masked:>8} {refused:>11}"
            f" {self.ends[End.ANSWERED]:>9} {self.ends[End.FAILED]:>7} {self.identical:>10} {len(self.different):>10}"
        )


HEADING = "generated   parsed  allowed          masked held/denied  answered  errors  identical  different"


async def run(
    line: Line, vocabulary: Vocabulary, *, seed: int, count: int, told: Callable[[Tally], bool] | None = None
) -> Tally:
    """Send *count* statements to both sides, or fewer where *told* has had enough."""
    tally = Tally()
    for statement in itertools.islice(statements(seed, vocabulary), count):
        pair = await line.ask(statement.sql, statement.tool)
        tally.ends[pair.one.end] += 1
        tally.masked += pair.one.end is End.ANSWERED and b'"mask":"' in pair.one.told
        if not pair.one.allowed:
            tally.codes[pair.one.told[:7].decode()] += 1
        if pair.same:
            tally.identical += pair.allowed
        else:
            tally.different.append((statement, pair))
        if pair.one.end is End.HELD:
            tally.held.append(statement)
        if told is not None and not told(tally):
            break
    return tally
