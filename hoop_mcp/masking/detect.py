r"""Finding personal data in text: Presidio's recognizers, run over a column instead of a cell.

Loaded in the worker only (importing presidio_analyzer takes most of a second). No language model, no download: the
pattern recognizers are used with their own regular expressions, flags and validators, and three jobs are done here
instead of there, because Presidio's way fails open or slowly:

* e-mail addresses count whatever their domain (Presidio asks the public suffix list and drops ``dev@corp.local``);
* an IBAN is cut to its country's length, so that words after it do not spoil the checksum;
* a pattern that runs out of time raises :class:`DetectionFailedError` (Presidio logs the timeout and returns the text
  as clean), and the caller withholds the whole column.

A column is read in three steps: all gates of all rules in one linear pass per cell (RE2), then each rule over the
cells that passed its gate, joined into one text, then overlapping findings merged. The joint is a NUL between
newlines: PostgreSQL text cannot hold a NUL, ``^``, ``$`` and ``\b`` see a line's edge, and a cell that brings its own
NUL (from elsewhere) can only break its own match: places are computed from lengths, not found by searching.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import presidio_analyzer.predefined_recognizers as shipped
import regex
from presidio_analyzer import PatternRecognizer

from hoop_mcp.masking import own, phone, views
from hoop_mcp.masking.gates import DetectionFailedError, Gates
from hoop_mcp.masking.recognizers import (
    CARD,
    EDGES,
    EMAIL,
    GATE_SETS,
    IBAN,
    NIR,
    OWN_GATES,
    PHONE,
    PHONE_CUES,
    RANK,
    RULES,
    Evidence,
    Rule,
)
from hoop_mcp.masking.spans import Span, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

JOINT = "\n\0\n"
PATTERN_TIMEOUT_S = 1.0
VOTE_SHARE, VOTE_LEAST, VOTE_SAMPLE, VOTE_LONGEST = 0.9, 12, 128, 40
PHONE_SHARE = 0.8
_NEVER = r"[^\x00-\x{10ffff}]"
CUE_REACH = 60  # code points before a match in which a cue word counts: about Presidio's five words

More = TypeVar("More")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class _Compiled(NamedTuple):
    rule: Rule
    recognizer: PatternRecognizer
    patterns: tuple[tuple[Any, float, bool], ...]
    """(compiled pattern, its score, whether it can count without a cue)"""
    cues: re.Pattern[str] | None
    phrases: frozenset[str]


class Detector:
    """All rules, compiled. Stateless between calls; one per process.

    Args:
        use_names: whether a column's name may serve as a cue.
        timeout_s: seconds one pattern may take over one column.
    """

    def __init__(self, *, use_names: bool = True, timeout_s: float = PATTERN_TIMEOUT_S) -> None:
        logging.getLogger("presidio-analyzer").disabled = True  # it logs the values it fails to validate
        self._use_names = use_names
        self._timeout_s = timeout_s
        self._rules = tuple(_compile(rule) for rule in RULES)
        self._phone_cues = _cue_pattern(PHONE_CUES)
        # Gates, by number: every rule's, our scanners', any cue at all, and the two views.
        own = range(len(RULES), len(RULES) + len(OWN_GATES))
        self._any_cue, self._swap, self._decode = range(own.stop, own.stop + 3)
        every_cue = "|".join(sorted({_cue_regex(phrase) for compiled in self._rules for phrase in compiled.phrases}))
        alone = "[^0-9A-Za-z]"
        self._gates = Gates(
            [
                *(rule.gate for rule in RULES),
                *(gate for _, gate in OWN_GATES),
                rf"(?:\A|{alone})(?:{every_cue})(?:{alone}|\z)",
                views.SWAP_GATE,
                views.DECODE_GATE,
            ],
            _gate_sets(),
        )
        self._standing = tuple(n for n, rule in enumerate(RULES) if rule.evidence is not Evidence.CUE)
        self._voting = frozenset(n for n, rule in enumerate(RULES) if rule.votes)
        self._own = frozenset(own)
        # A text that opens none of these holds no finding, unless the column's name or its vote says otherwise.
        self._telling = frozenset({*self._standing, *own, self._any_cue, self._decode})
        # Asked of cells with a cue: which rule's cue it is. Of phone numbers: whether there is any cue at all.
        self._cue_gates = Gates(["|".join(map(_cue_regex, sorted(c.phrases))) or _NEVER for c in self._rules])
        self._phone_gate = Gates(["|".join(sorted({phrase.split()[0] for phrase in PHONE_CUES}))])
        phone.warm_up()
        views.warm_up()

    def scan(self, name: str, values: Sequence[str], skip: frozenset[str] = frozenset()) -> list[tuple[Span, ...]]:
        """Find personal data in the distinct values of one column.

        Args:
            name: the column's name, used as a cue; "" for none.
            values: the cells' texts, each once.
            skip: entities that are final in this column and stay.

        Returns:
            For each value its findings: disjoint, in order, in code points of the value.

        Raises:
            DetectionFailedError: a pattern ran out of time, or the engine could not read; nothing may be shown.
        """
        found, behind = self._read(name, values, skip)
        if behind:
            views_of = [(i, view) for i in behind if (view := views.decoded(values[i])) is not None]
            seen, _ = self._read(name, [view for _, view in views_of], skip)
            for place, spans in seen.items():
                i = views_of[place][0]
                if spans:
                    found[i] = [Span(0, len(values[i]), spans[0].entity, "decoded view")]
        settled: list[tuple[Span, ...]] = [()] * len(values)
        for i, spans in found.items():
            settled[i] = _settled(spans, skip)
        return settled

    def flagged(self, name: str, values: Iterable[str]) -> list[bool]:
        """Whether any gate opens for a text: False means that nothing inside it can be a finding.

        For texts whose parts are read one by one, each under a name of its own (JSON keys), in a column ``name``.
        """
        words = _words(name) if self._use_names else ""
        if self._named(words) or self._phone_cues.search(words):
            return [True for _ in values]
        # Keys become cues word by word, as names do: passportNo is a cue as much as passport_no.
        texts = [_CAMEL.sub("_", value) for value in values]
        flags = [False] * len(texts)
        for which, _ in self._gates.sift(texts, worth=self._telling | {self._swap}):
            for i in which:
                flags[i] = True
        return flags

    def _read(
        self, name: str, values: Sequence[str], skip: frozenset[str]
    ) -> tuple[dict[int, list[Span]], Sequence[int]]:
        """Findings of the texts that have any, and the texts worth reading decoded."""
        texts = [text if text.isascii() else views.in_place(text) for text in values]
        words = _words(name) if self._use_names else ""
        named = self._named(words)
        carried = self._carried(texts) if len(texts) >= VOTE_LEAST else ()
        # Of a scanner of ours it need not be known which cells of a block opened its gate: to look closely at 32 short
        # cells is as quick as to ask 32 times, and what is found is the same.
        cells_of: dict[int, list[int]] = {}
        for which, opened in self._gates.sift(texts, worth=self._telling.union(named, carried), loose=self._own):
            for gate in opened:
                cells_of.setdefault(gate, []).extend(which)
        found: dict[int, list[Span]] = defaultdict(list)
        for gate, (entity, _) in enumerate(OWN_GATES, start=len(RULES)):
            if gate in cells_of and entity == PHONE:
                self._phones(gate, texts, cells_of[gate], found, words=words, final=entity in skip)
            elif gate in cells_of:
                detector = entity.lower()
                cells = _Cells(texts, cells_of[gate])
                for i, start, end, _ in cells.located((*place, None) for place in _SCANNERS[entity](cells.joined)):
                    found[i].append(Span(start, end, entity, detector))
        for n in self._standing:
            if n in cells_of:
                self._without_cue(self._rules[n], texts, cells_of[n], found)
        self._with_cue(named, texts, cells_of, found)
        for n in carried:
            detector = f"{RULES[n].recognizer} by column"
            for i in cells_of[n]:
                found[i].append(Span(0, len(texts[i]), RULES[n].entity, detector))
        return found, cells_of.get(self._decode, ())

    def _opening(self, gate: int, texts: Sequence[str], which: Iterable[int]) -> list[int]:
        """Those of some cells that open a gate."""
        only = frozenset({gate})
        return [i for i in which if gate in self._gates.open(texts[i], only)]

    def _phones(
        self, gate: int, texts: list[str], which: list[int], found: dict[int, list[Span]], *, words: str, final: bool
    ) -> None:
        """Telephone numbers; and where four cells in five are one and nothing else, the odd ones out are as well."""
        search = self._phone_cues.search
        always = final or search(words) is not None
        cells = _Cells(texts, which)
        text = cells.joined
        cue_before: Callable[[int], bool] = lambda _: always  # noqa: E731 - one of two, and both are used once
        # Where no cue's first word occurs in all of the text, none stands before any number: most columns are spared a
        # search at every one. Beyond ASCII letters fold in more ways than one, and nothing is spared.
        if not always and (not text.isascii() or self._phone_gate.open(text)):
            # A cue may end the cell before. Which one that is must not depend on how the gate was asked.
            which = self._opening(gate, texts, which)
            cells = _Cells(texts, which)
            text = cells.joined
            cue_before = lambda at: search(text, max(0, at - 30), at) is not None  # noqa: E731 - as above
        whole: set[int] = set()
        for i, start, end, _ in cells.located((*place, None) for place in phone.find_phones(text, cue_before)):
            found[i].append(Span(start, end, PHONE, "phone_number"))
            if end - start >= len(texts[i].strip()):
                whole.add(i)
        if len(texts) >= VOTE_LEAST and len(whole) >= PHONE_SHARE * len(texts):
            for i in self._opening(gate, texts, [i for i in which if i not in found]):
                found[i].append(Span(0, len(texts[i]), PHONE, "phone_number by column"))

    def _named(self, words: str) -> frozenset[int]:
        """The rules that have a cue in a column's name. Names are not remembered: keys of documents are among them."""
        if not words:
            return frozenset()
        return frozenset(n for n in self._cue_gates.open(words) if _has_phrase(words, self._rules[n].phrases))

    def _with_cue(
        self, named: frozenset[int], texts: list[str], cells_of: dict[int, list[int]], found: dict[int, list[Span]]
    ) -> None:
        """Rules believed because of a cue: in the column's name for all its cells, else in the words before."""
        cued: dict[int, list[int]] = {}
        for i in cells_of.get(self._any_cue, ()):
            for n in self._cue_gates.open(texts[i]):
                cued.setdefault(n, []).append(i)
        for n in sorted(named.union(cued)):
            compiled = self._rules[n]
            which = cells_of.get(n, []) if n in named else self._opening(n, texts, cued[n])
            if not which:
                continue
            for i, start, end, _ in self._matches(compiled, texts, which, cue=True):
                reach = texts[i], max(0, start - CUE_REACH), start
                if n in named or (compiled.cues is not None and compiled.cues.search(*reach)):
                    found[i].append(Span(start, end, compiled.rule.entity, compiled.rule.recognizer))

    def _carried(self, texts: list[str]) -> list[int]:
        """Rules whose checksum holds for so many whole cells that it is no chance (a tenth to the twelfth power)."""
        sample = texts[:VOTE_SAMPLE]
        least = VOTE_SHARE * len(sample)
        # So many may fail and the vote still carry; where one more than that fails at the start, it cannot.
        first = [i for i in range(int(len(sample) - least) + 1) if len(sample[i]) <= VOTE_LONGEST]
        if not first:
            return []
        opened = self._voting.intersection(self._gates.open("\n".join(sample[i] for i in first), self._voting))
        likely = [n for n in sorted(opened) if self._whole(self._rules[n], sample, first)]
        short = [i for i, text in enumerate(sample) if len(text) <= VOTE_LONGEST] if likely else []
        return [n for n in likely if len(self._whole(self._rules[n], sample, short)) >= least]

    def _whole(self, compiled: _Compiled, texts: list[str], which: list[int]) -> set[int]:
        """The cells that are, whole, a match whose checksum holds."""
        cells = _Cells(texts, which)
        return {
            i
            for pattern, score, _ in compiled.patterns
            for i, start, end, match in cells.located(self._shaped(compiled, pattern, cells.joined))
            if end - start == len(texts[i].strip()) and _judge(compiled.recognizer, match, score) == 1.0
        }

    def _without_cue(
        self, compiled: _Compiled, texts: list[str], passed: list[int], found: dict[int, list[Span]]
    ) -> None:
        rule = compiled.rule
        apart = rule.evidence is Evidence.APART
        for i, start, end, score in self._matches(compiled, texts, passed, cue=False):
            if score >= rule.floor and not (apart and texts[i][start:end].isalnum()):
                found[i].append(Span(start, end, rule.entity, rule.recognizer))

    def _matches(
        self, compiled: _Compiled, texts: list[str], which: list[int], *, cue: bool
    ) -> Iterator[tuple[int, int, int, float]]:
        cells = _Cells(texts, which)
        for pattern, score, stands_alone in compiled.patterns:
            if cue or stands_alone:
                yield from cells.located(self._judged(compiled, pattern, score, cells.joined))

    def _judged(self, compiled: _Compiled, pattern: Any, score: float, text: str) -> Iterator[tuple[int, int, float]]:
        for start, end, match in self._shaped(compiled, pattern, text):
            judged = _judge(compiled.recognizer, match, score)
            if judged > 0:
                yield start, end, judged

    def _shaped(self, compiled: _Compiled, pattern: Any, text: str) -> Iterator[tuple[int, int, str]]:
        """Matches by their shape alone."""
        bounded = compiled.rule.bounded
        try:
            for match in pattern.finditer(text, timeout=self._timeout_s):
                start, end = match.span()
                if start == end or (bounded and (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())):
                    continue
                yield start, end, match[0]
        except TimeoutError:
            raise DetectionFailedError(compiled.rule.recognizer) from None


_SCANNERS = {EMAIL: own.emails, IBAN: own.ibans, CARD: own.cards, NIR: own.nirs}


class _Cells:
    """Some cells of a column joined into one text, and the way back from a place in it to a place in a cell."""

    def __init__(self, texts: list[str], which: list[int]) -> None:
        chosen = texts if len(which) == len(texts) else [texts[i] for i in which]
        self.joined = JOINT.join(chosen)
        self._which = which
        self._lengths = list(map(len, chosen))
        self._starts = list(accumulate([n + len(JOINT) for n in self._lengths], initial=0))

    def located(self, places: Iterable[tuple[int, int, More]]) -> Iterator[tuple[int, int, int, More]]:
        """(cell, start and end in the cell, what came with the place)."""
        starts, lengths, which = self._starts, self._lengths, self._which
        for start, end, more in places:
            n = bisect_right(starts, start) - 1
            base = starts[n]
            finish = min(end - base, lengths[n])
            if finish > start - base:
                yield which[n], start - base, finish, more


def _judge(recognizer: PatternRecognizer, text: str, score: float) -> float:
    """A match's score after Presidio's own validators. One that breaks on a match counts as a find, not as clean."""
    try:
        valid = recognizer.validate_result(text)
        if valid is False or recognizer.invalidate_result(text):
            return 0.0
    except Exception:
        return 1.0
    return 1.0 if valid else score


def _settled(spans: list[Span], skip: frozenset[str]) -> tuple[Span, ...]:
    """Findings merged, without the final entities and without weaker readings of the same characters.

    A finding that only partly overlaps a final one stays: what sticks out is not final.
    """
    if len(spans) == 1:
        return () if spans[0].entity in skip else (spans[0],)
    final = [s for s in spans if s.entity in skip]
    if final:
        spans = [
            s
            for s in spans
            if s.entity not in skip
            and not any(
                f.start <= s.start and s.end <= f.end and RANK.get(f.entity, 0) < RANK.get(s.entity, 0) for f in final
            )
        ]
    return merged(spans, RANK)


def _gate_sets() -> list[list[int]]:
    """Which gates are read for together: those that begin at a word's edge, those of each set, and all others."""
    gates = [(rule.entity, rule.gate) for rule in RULES] + list(OWN_GATES)
    sets: list[list[int]] = [[] for _ in range(len(GATE_SETS) + 2)]
    for n, (entity, gate) in enumerate(gates):
        place = next((k for k, entities in enumerate(GATE_SETS) if entity in entities), len(GATE_SETS))
        sets[-1 if gate.startswith(EDGES) else place].append(n)
    sets[len(GATE_SETS)] += range(len(gates), len(gates) + 3)
    return sets


def _compile(rule: Rule) -> _Compiled:
    recognizer: Any = getattr(shipped, rule.recognizer)(supported_language=rule.language)
    validates = type(recognizer).validate_result is not PatternRecognizer.validate_result
    patterns = tuple(
        (
            regex.compile(pattern.regex, recognizer.global_regex_flags),
            pattern.score,
            rule.evidence is not Evidence.CUE and (validates or pattern.score >= rule.floor),
        )
        for pattern in recognizer.patterns
    )
    phrases = frozenset(filter(None, (_words(cue) for cue in rule.cues or recognizer.context or ())))
    return _Compiled(rule, recognizer, patterns, _cue_pattern(phrases) if phrases else None, phrases)


def _words(name: str) -> str:
    """A name as lower-case words: ``steuerId`` and ``STEUER_ID`` are "steuer id"."""
    return " ".join(re.split(r"[\W_]+", _CAMEL.sub("_", name).casefold())).strip()


def _has_phrase(words: str, phrases: frozenset[str]) -> bool:
    padded = f" {words} "
    return bool(words) and any(f" {phrase} " in padded for phrase in phrases)


def _cue_regex(phrase: str) -> str:
    return r"[\s_.\-]*".join(map(re.escape, phrase.split()))


def _cue_pattern(phrases: frozenset[str]) -> re.Pattern[str]:
    alternatives = "|".join(map(_cue_regex, sorted(phrases, key=len, reverse=True)))
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE)
