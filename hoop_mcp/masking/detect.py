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
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import presidio_analyzer.predefined_recognizers as shipped
import re2
import regex
from presidio_analyzer import PatternRecognizer

from hoop_mcp.masking import own, phone, views
from hoop_mcp.masking.recognizers import (
    CARD,
    EMAIL,
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
    from collections.abc import Iterable, Iterator, Sequence

JOINT = "\n\0\n"
PATTERN_TIMEOUT_S = 1.0
VOTE_SHARE, VOTE_LEAST, VOTE_SAMPLE, VOTE_LONGEST = 0.9, 12, 128, 40
PHONE_SHARE = 0.8
_NEVER = r"[^\x00-\x{10ffff}]"
MAX_NAMES = 4096
CUE_REACH = 60  # code points before a match in which a cue word counts: about Presidio's five words

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class DetectionFailedError(Exception):
    """Detection could not finish. Carries the rule's name, never a value."""


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
        # Asked of every cell, in this order: our scanners, the rules that can stand without a cue, any cue at all,
        # and the two views.
        self._standing = tuple(n for n, rule in enumerate(RULES) if rule.evidence is not Evidence.CUE)
        gates = [gate for _, gate in OWN_GATES] + [RULES[n].gate for n in self._standing]
        self._any_cue, self._swap, self._decode, self._all = range(len(gates), len(gates) + 4)
        every_cue = "|".join(sorted({_cue_regex(phrase) for compiled in self._rules for phrase in compiled.phrases}))
        alone = "[^0-9A-Za-z]"
        gates += [rf"(?:\A|{alone})(?:{every_cue})(?:{alone}|\z)", views.SWAP_GATE, views.DECODE_GATE]
        self._gates = _Gates(gates)
        # Asked of cells with a cue, or of a column whose name is one: every rule, then which rule's cue it is.
        self._rule_gates = _Gates([rule.gate for rule in RULES])
        self._cue_gates = _Gates(["|".join(map(_cue_regex, sorted(c.phrases))) or _NEVER for c in self._rules])
        self._names: dict[str, frozenset[int]] = {}
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
        texts = list(values)
        found, behind = self._read(name, texts, skip)
        if behind:
            views_of = [(i, view) for i in behind if (view := views.decoded(values[i])) is not None]
            seen, _ = self._read(name, [view for _, view in views_of], skip)
            for (i, _), spans in zip(views_of, seen, strict=True):
                if spans:
                    found[i] = [Span(0, len(values[i]), spans[0].entity, "decoded view")]
        return [_settled(spans, skip) if spans else () for spans in found]

    def flagged(self, name: str, values: Iterable[str]) -> list[bool]:
        """Whether any gate opens for a text: False means that nothing inside it can be a finding.

        For texts whose parts are read one by one, each under a name of its own (JSON keys), in a column ``name``.
        """
        words = _words(name) if self._use_names else ""
        if self._named(words) or self._phone_cues.search(words):
            return [True for _ in values]
        # Keys become cues word by word, as names do: passportNo is a cue as much as passport_no.
        return [len(self._gates.open(_CAMEL.sub("_", value))) > 1 for value in values]

    def _read(self, name: str, texts: list[str], skip: frozenset[str]) -> tuple[list[list[Span]], list[int]]:
        """Findings per text, and the texts worth reading decoded. ``texts`` is changed in place, length for length."""
        found: list[list[Span]] = [[] for _ in texts]
        passed: list[list[int]] = [[] for _ in range(self._all + 1)]
        open_gates, only_all = self._gates.open, 1
        for i, text in enumerate(texts):
            hits = open_gates(text)
            if len(hits) == only_all:
                continue
            if self._swap in hits:
                texts[i] = views.in_place(text)
                hits = [*open_gates(texts[i]), self._decode] if self._decode in hits else open_gates(texts[i])
            for gate in hits:
                passed[gate].append(i)
        for place, (entity, _) in enumerate(OWN_GATES):
            if passed[place]:
                cells = _Cells(texts, passed[place])
                detector = entity.lower()
                for i, start, end, _ in cells.located(self._own(entity, cells.joined, name, skip)):
                    found[i].append(Span(start, end, entity, detector))
                if entity == PHONE:
                    _all_phones(texts, passed[place], found)
        for place, n in enumerate(self._standing, start=len(OWN_GATES)):
            if passed[place]:
                self._without_cue(self._rules[n], texts, passed[place], found)
        words = _words(name) if self._use_names else ""
        self._with_cue(words, texts, passed[self._any_cue], found)
        self._by_vote(texts, found)
        return found, list(dict.fromkeys(passed[self._decode]))

    def _own(self, entity: str, text: str, name: str, skip: frozenset[str]) -> Iterator[tuple[int, int, float]]:
        places: Iterable[tuple[int, int]]
        if entity == PHONE:
            search = self._phone_cues.search
            always = PHONE in skip or (self._use_names and search(_words(name)) is not None)
            # Where no cue's first word occurs in all of the text, none stands before any number: most columns are spared
            # a search at every one. Beyond ASCII letters fold in more ways than one, and nothing is spared.
            lowered = text.lower()
            never = not always and text.isascii() and not any(cue in lowered for cue in _PHONE_CUE_STARTS)
            places = phone.find_phones(
                text, lambda at: always or (not never and search(text, max(0, at - 30), at) is not None)
            )
        else:
            places = {EMAIL: own.emails, IBAN: own.ibans, CARD: own.cards, NIR: own.nirs}[entity](text)
        return ((start, end, 1.0) for start, end in places)

    def _named(self, words: str) -> frozenset[int]:
        """The rules that have a cue in a column's name. Remembered: names come back with every call."""
        known = self._names.get(words)
        if known is None:
            if len(self._names) > MAX_NAMES:
                self._names.clear()
            known = frozenset(n for n, compiled in enumerate(self._rules) if _has_phrase(words, compiled.phrases))
            self._names[words] = known
        return known

    def _with_cue(self, words: str, texts: list[str], cued: list[int], found: list[list[Span]]) -> None:
        """Rules believed because of a cue: in the column's name for all its cells, else in the words before."""
        named = self._named(words)
        cells: dict[int, list[int]] = {}
        in_text = set(cued)
        for i in range(len(texts)) if named else cued:
            rules = [n for n in self._rule_gates.open(texts[i]) if n < len(RULES)]
            if rules and i in in_text:
                cues = named.union(self._cue_gates.open(texts[i]))
                rules = [n for n in rules if n in cues]
            for n in rules:
                if n in named or i in in_text:
                    cells.setdefault(n, []).append(i)
        for n, which in cells.items():
            compiled = self._rules[n]
            for i, start, end, _ in self._matches(compiled, texts, which, cue=True):
                reach = texts[i], max(0, start - CUE_REACH), start
                if n in named or (compiled.cues is not None and compiled.cues.search(*reach)):
                    found[i].append(Span(start, end, compiled.rule.entity, compiled.rule.recognizer))

    def _by_vote(self, texts: list[str], found: list[list[Span]]) -> None:
        """Rules whose checksum holds for so many whole cells that it is no chance (a tenth to the twelfth power)."""
        if len(texts) < VOTE_LEAST:
            return
        sample = texts[:VOTE_SAMPLE]
        opened: dict[int, list[int]] = {}
        for i, text in enumerate(sample):
            if len(text) <= VOTE_LONGEST:
                for n in self._rule_gates.open(text):
                    opened.setdefault(n, []).append(i)
        for n, which in opened.items():
            if n == len(RULES) or not RULES[n].votes or len(which) < VOTE_SHARE * len(sample):
                continue
            compiled = self._rules[n]
            # So many may fail and the vote still carry; where one more than that fails at the start, it cannot.
            spare = int(len(which) - VOTE_SHARE * len(sample)) + 1
            if not self._whole(compiled, sample, which[:spare]):
                continue
            if len(self._whole(compiled, sample, which)) >= VOTE_SHARE * len(sample):
                for i, text in enumerate(texts):
                    if n in self._rule_gates.open(text):
                        span = Span(0, len(text), compiled.rule.entity, f"{compiled.rule.recognizer} by column")
                        found[i].append(span)

    def _whole(self, compiled: _Compiled, texts: list[str], which: list[int]) -> set[int]:
        """The cells that are, whole, a match whose checksum holds."""
        return {
            i
            for i, start, end, score in self._matches(compiled, texts, which, cue=True)
            if score == 1.0 and end - start == len(texts[i].strip())
        }

    def _without_cue(self, compiled: _Compiled, texts: list[str], passed: list[int], found: list[list[Span]]) -> None:
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
        bounded = compiled.rule.bounded
        try:
            for match in pattern.finditer(text, timeout=self._timeout_s):
                start, end = match.span()
                if start == end or (bounded and (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())):
                    continue
                judged = _judge(compiled.recognizer, match[0], score)
                if judged > 0:
                    yield start, end, judged
        except TimeoutError:
            raise DetectionFailedError(compiled.rule.recognizer) from None


_PHONE_CUE_STARTS = tuple({phrase.split()[0] for phrase in PHONE_CUES})


class _Cells:
    """Some cells of a column joined into one text, and the way back from a place in it to a place in a cell."""

    def __init__(self, texts: list[str], which: list[int]) -> None:
        chosen = texts if len(which) == len(texts) else [texts[i] for i in which]
        self.joined = JOINT.join(chosen)
        self._which = which
        self._lengths = list(map(len, chosen))
        self._starts = list(accumulate([n + len(JOINT) for n in self._lengths], initial=0))

    def located(self, places: Iterable[tuple[int, int, float]]) -> Iterator[tuple[int, int, int, float]]:
        """(cell, start and end in the cell, score)."""
        starts, lengths, which = self._starts, self._lengths, self._which
        for start, end, score in places:
            n = bisect_right(starts, start) - 1
            base = starts[n]
            finish = min(end - base, lengths[n])
            if finish > start - base:
                yield which[n], start - base, finish, score


class _Gates:
    """Many RE2 patterns asked at once. An answer always ends with one gate more, which matches everything."""

    def __init__(self, patterns: list[str]) -> None:
        options = re2.Options()
        options.case_sensitive = False
        options.max_mem = 256 << 20
        options.log_errors = False
        gates = re2.Set.SearchSet(options)
        for pattern in [*patterns, ""]:
            gates.Add(pattern)
        gates.Compile()
        self._match = gates.Match

    def open(self, text: str) -> list[int]:
        """The gates that a text passes.

        Raises:
            DetectionFailedError: not even the last gate opened, which is how RE2 shows that it gave up (out of memory);
                taken at its word, that would look like a clean text.
        """
        hits: list[int] | None = self._match(text.encode("utf-8", "replace"))
        if not hits:
            raise DetectionFailedError("gates")
        return hits


def _all_phones(texts: list[str], passed: list[int], found: list[list[Span]]) -> None:
    """Where four cells in five are a phone number and nothing else, the odd ones out are phone numbers too."""
    if len(texts) < VOTE_LEAST or len(passed) < PHONE_SHARE * len(texts):
        return
    whole = sum(any(s.entity == PHONE and s.end - s.start >= len(texts[i].strip()) for s in found[i]) for i in passed)
    if whole >= PHONE_SHARE * len(texts):
        for i in passed:
            if not found[i]:
                found[i].append(Span(0, len(texts[i]), PHONE, "phone_number by column"))


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
