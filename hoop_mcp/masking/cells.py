"""Detection over the cells of one column, whatever they are printed as: text, a JSON text, an array, or bytes.

Documents are read leaf by leaf, keys included, each with the key above it as its cue; arrays element by element. What
is found is replaced in place. A cell that cannot be read as its type says is withheld, never guessed at.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from hoop_mcp.masking.literals import Nested, check_json, json_leaves, leaves, map_leaves, parse_array
from hoop_mcp.masking.pgtypes import DOCUMENTS, element_of
from hoop_mcp.masking.spans import Span, replaced
from hoop_mcp.masking.values import delimiter_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_KEYS = 64
"""Distinct keys of a document column that are scanned as columns of their own; the leaves under all others share one
scan without a cue (data used as keys could otherwise cost one pass per row)."""


class Finder(Protocol):
    """What the cells need of detection (:class:`hoop_mcp.masking.detect.Detector`)."""

    def scan(self, name: str, values: Sequence[str], skip: frozenset[str] = ...) -> list[tuple[Span, ...]]:
        """The findings in each of a column's distinct values."""
        ...

    def flagged(self, name: str, values: Iterable[str]) -> list[bool]:
        """Whether a text may hold a finding at all."""
        ...


class Scanned(NamedTuple):
    """For every distinct cell the value to answer with; for those with findings their entities (some may be equal)."""

    values: dict[str, Any]
    entities: dict[str, tuple[str, ...]]


WITHHELD = "UNREADABLE"
"""Counted where a cell could not be read as its type says; the cell is null."""


def scan_cells(finder: Finder, name: str, type_name: str, distinct: Sequence[str], skip: frozenset[str]) -> Scanned:
    """Read a column's distinct cells and replace what is personal.

    Raises:
        Exception: whatever detection raises; the caller withholds the column.
    """
    if type_name in DOCUMENTS:
        return _documents(finder, name, distinct, skip)
    if element_of(type_name) is not None:
        return _arrays(finder, name, type_name, distinct, skip)
    if type_name == "bytea":
        return _bytes(finder, name, distinct, skip)
    found = finder.scan(name, distinct, skip)
    values = dict(zip(distinct, distinct, strict=True))
    entities: dict[str, tuple[str, ...]] = {}
    for text, spans in zip(distinct, found, strict=True):
        if spans:
            values[text] = replaced(text, spans)
            entities[text] = tuple(s.entity for s in spans)
    return Scanned(values, entities)


def document_spans(
    finder: Finder, name: str, documents: Sequence[str], skip: frozenset[str]
) -> list[list[tuple[Span, bool]] | None]:
    """Findings in JSON texts, in code points of the raw text, each with whether it covers a number whole.

    None stands for a text that is not JSON.
    """
    result: list[list[tuple[Span, bool]] | None] = [[] for _ in documents]
    # An escape hides characters from the gates, so a document with a backslash is always opened.
    worth = [flag or "\\" in text for flag, text in zip(finder.flagged(name, documents), documents, strict=True)]
    by_key: dict[str, dict[str, list[tuple[int, int, int, bool, bool]]]] = {}
    for i, text in enumerate(documents):
        try:
            found = json_leaves(text) if worth[i] else None
            if found is None:
                check_json(text)
                continue
        except ValueError:
            result[i] = None
            continue
        for leaf in found:
            key = leaf.key if leaf.key in by_key or len(by_key) < MAX_KEYS else ""
            place = (i, leaf.start, leaf.end, leaf.is_number, leaf.escaped)
            by_key.setdefault(key, {}).setdefault(leaf.text, []).append(place)
    for key, texts in by_key.items():
        for (text, places), spans in zip(texts.items(), finder.scan(key or name, list(texts), skip), strict=True):
            if not spans:
                continue
            for i, start, end, is_number, escaped in places:
                target = result[i]
                if target is None:
                    continue
                if is_number or escaped or len(text) != end - start:
                    target.append((Span(start, end, spans[0].entity, spans[0].detector), is_number))
                else:
                    target += [(s._replace(start=start + s.start, end=start + s.end), False) for s in spans]
    for places_of in result:
        if places_of:
            places_of.sort()
    return result


def splice(text: str, spans: Iterable[tuple[Span, bool]]) -> str:
    """A JSON text with its findings replaced; a number becomes a string, everything else keeps its bytes."""
    parts: list[str] = []
    at = 0
    for span, is_number in spans:
        placeholder = f'"[{span.entity}]"' if is_number else f"[{span.entity}]"
        parts += (text[at : span.start], placeholder)
        at = span.end
    parts.append(text[at:])
    return "".join(parts)


def _documents(finder: Finder, name: str, distinct: Sequence[str], skip: frozenset[str]) -> Scanned:
    result = Scanned({}, {})
    for text, spans in zip(distinct, document_spans(finder, name, distinct, skip), strict=True):
        if spans is None:
            result.values[text], result.entities[text] = None, (WITHHELD,)
        elif spans:
            result.values[text] = orjson.Fragment(splice(text, spans))
            result.entities[text] = tuple(s.entity for s, _ in spans)
        else:
            result.values[text] = orjson.Fragment(text)
    return result


def _arrays(finder: Finder, name: str, type_name: str, distinct: Sequence[str], skip: frozenset[str]) -> Scanned:
    element = element_of(type_name) or ""
    delimiter = delimiter_of(element)
    parsed: dict[str, list[Nested] | None] = {}
    elements: dict[str, None] = {}
    for text in distinct:
        try:
            array = parse_array(text, delimiter)
        except ValueError:
            parsed[text] = None
            continue
        parsed[text] = array
        elements |= dict.fromkeys(leaves(array))
    inside = scan_cells(finder, name, element, list(elements), skip) if elements else Scanned({}, {})
    result = Scanned({}, {})
    for text, nested in parsed.items():
        if nested is None:
            result.values[text], result.entities[text] = None, (WITHHELD,)
            continue
        result.values[text] = map_leaves(nested, inside.values.__getitem__)
        if entities := tuple(e for leaf in leaves(nested) for e in inside.entities.get(leaf, ())):
            result.entities[text] = entities
    return result


def _bytes(finder: Finder, name: str, distinct: Sequence[str], skip: frozenset[str]) -> Scanned:
    r"""Bytes print as ``\x…`` (PostgreSQL manual, 8.4.1): read as printed and as the text its bytes spell."""
    spelled = [_spelling(text) for text in distinct]
    as_printed = finder.scan(name, distinct, skip)
    decoded = list(dict.fromkeys(s for s in spelled if s is not None))
    as_text = dict(zip(decoded, finder.scan(name, decoded, skip), strict=True))
    result = Scanned({}, {})
    for text, spelling, spans in zip(distinct, spelled, as_printed, strict=True):
        if spelling is None:
            result.values[text], result.entities[text] = None, (WITHHELD,)
        elif hits := as_text[spelling] or spans:
            result.values[text], result.entities[text] = f"[{hits[0].entity}]", (hits[0].entity,)
        else:
            result.values[text] = text
    return result


def _spelling(text: str) -> str | None:
    if not text.startswith("\\x"):
        return None
    try:
        raw = bytes.fromhex(text[2:])
    except ValueError:
        return None
    for encoding in ("utf-8", "utf-16-le" if raw[1:2] == b"\0" else "latin-1"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def count_entities(cells: Iterable[str | None], entities: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """How many of a column's cells hold each entity; a cell counts once per entity."""
    counts: dict[str, int] = {}
    for found, times in Counter(entities[cell] for cell in cells if cell in entities).items():
        for entity in set(found):
            counts[entity] = counts.get(entity, 0) + times
    return counts
