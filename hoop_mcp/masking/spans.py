"""Where something personal lies in a text, and the text without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Span(NamedTuple):
    """Code points ``start`` to ``end`` hold an ``entity``, as ``detector`` says."""

    start: int
    end: int
    entity: str
    detector: str


def merged(spans: Iterable[Span], rank: dict[str, int]) -> tuple[Span, ...]:
    """Overlapping spans as one that covers them all, named after the most certain (lowest rank) of them.

    Direction: the union is masked. A shorter reading inside a longer one is no reason to show the rest.
    """
    result: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if result and span.start < result[-1].end:
            last = result[-1]
            better = min(last, span, key=lambda s: rank.get(s.entity, len(rank)))
            result[-1] = Span(last.start, max(last.end, span.end), better.entity, better.detector)
        else:
            result.append(span)
    return tuple(result)


def replaced(text: str, spans: Iterable[Span]) -> str:
    """The text with every span (disjoint, in order) replaced by its typed placeholder."""
    parts: list[str] = []
    at = 0
    for span in spans:
        parts += (text[at : span.start], "[", span.entity, "]")
        at = span.end
    parts.append(text[at:])
    return "".join(parts)
