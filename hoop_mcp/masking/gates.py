r"""Many patterns asked of a text at once (RE2): which of them could match in it at all.

Two things make this quick. *Sets*: RE2 reads a text once for all patterns of a set, but builds an automaton of their
product while it reads, and patterns that count from anywhere (26 letters or digits after a 1 or a 3) multiply each
other's states; told apart into sets of their own they do not. *Blocks*: to ask costs more than to read a short text,
so short texts are first asked for together, a newline between them. A gate takes a newline beside a text for the
text's edge, so what opens for a text opens for its block too, and a block that opens nothing holds no text that would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BLOCK = 32
BLOCK_LONGEST = 4096
"""Code points in a block up to which one question is cheaper than several."""


class DetectionFailedError(Exception):
    """Detection could not finish. Carries a rule's name, never a value."""


class Gates:
    """RE2 patterns, matched without case, each known by its place.

    Args:
        patterns: what to look for. None may tell a newline beside the text from the text's edge.
        sets: the patterns' places, each in exactly one set; all in one if not given.
    """

    def __init__(self, patterns: Sequence[str], sets: Iterable[Sequence[int]] | None = None) -> None:
        self._sets = tuple(_Set(patterns, places) for places in sets or [range(len(patterns))] if places)

    def open(self, text: str, among: frozenset[int] | None = None) -> list[int]:
        """The gates that a text passes, in no order.

        Args:
            text: any text.
            among: ask only for these gates (an answer may name others).

        Raises:
            DetectionFailedError: RE2 gave up.
        """
        read = text.encode("utf-8", "replace")
        return [gate for s in self._sets if among is None or not s.gates.isdisjoint(among) for gate in s.open(read)]

    def sift(
        self, texts: Sequence[str], *, worth: frozenset[int], loose: frozenset[int] = frozenset()
    ) -> Iterator[tuple[Sequence[int], Iterable[int]]]:
        """The texts that open a gate in ``worth``: the places of some, and gates that they open.

        A text comes once for each set in which it opens such a gate, and for one gate the places ascend.

        Args:
            texts: where to look.
            worth: the gates that make a text worth yielding; nothing is promised of others.
            loose: gates of which the caller need not know which text of a block opened them. Where all that a block
                opens in a set are loose, its texts come together, as if each had opened all of them.

        Raises:
            DetectionFailedError: RE2 gave up.
        """
        sets = [s for s in self._sets if not s.gates.isdisjoint(worth)]
        dense = [False] * len(sets)  # where most texts of a block opened, the next block is not worth the question
        for base in range(0, len(texts), BLOCK):
            block = texts[base : base + BLOCK]
            joined = "\n".join(block)
            at_once = joined.encode("utf-8", "replace") if len(block) > 1 and len(joined) <= BLOCK_LONGEST else None
            one_by_one: list[bytes] | None = None
            for n, gates in enumerate(sets):
                if at_once is not None and not dense[n]:
                    told = worth.intersection(gates.open(at_once))
                    if told <= loose:
                        if told:
                            yield range(base, base + len(block)), told
                        continue
                if one_by_one is None:
                    one_by_one = [text.encode("utf-8", "replace") for text in block]
                opened = 0
                for i, text in enumerate(one_by_one, base):
                    hits = gates.open(text)
                    if hits and not worth.isdisjoint(hits):
                        opened += 1
                        yield (i,), hits
                dense[n] = 2 * opened > len(block)


class _Set:
    """Patterns that RE2 reads a text for together, and one more, which matches everything."""

    def __init__(self, patterns: Sequence[str], places: Sequence[int]) -> None:
        options = re2.Options()
        options.case_sensitive = False
        options.max_mem = 64 << 20  # bytes a set may keep of its automaton; it is built anew when they are used up
        options.log_errors = False
        compiled = re2.Set.SearchSet(options)
        for place in places:
            compiled.Add(patterns[place])
        compiled.Add("")
        compiled.Compile()
        self.gates = frozenset(places)
        self._places = tuple(places)
        self._match = compiled.Match

    def open(self, text: bytes) -> list[int]:
        """The gates of this set that a text passes.

        Raises:
            DetectionFailedError: not even the last pattern matched, which is how RE2 shows that it gave up (out of
                memory); taken at its word, that would look like a clean text.
        """
        hits: list[int] | None = self._match(text)
        if not hits:
            raise DetectionFailedError("gates")
        if len(hits) == 1:
            return []
        places = self._places
        return [places[hit] for hit in hits if hit < len(places)]
