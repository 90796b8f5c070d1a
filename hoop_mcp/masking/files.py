"""The masking engine over a file's text: CSV with a header, or JSON lines. No database, no settings, operator redact.

Untouched cells keep their bytes: a file is cut into raw fields, never parsed and written anew. CSV has no types, so
every cell is text; JSON lines say theirs in the first line, and gated types pass as they do in an answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hoop_mcp.masking.cells import document_spans, splice
from hoop_mcp.masking.pgtypes import DOCUMENTS, is_gated, looks_gated
from hoop_mcp.masking.spans import Span, replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hoop_mcp.masking.cells import Finder

EVERYTHING: frozenset[str] = frozenset()
"""No entity is final in a file: there is no policy here."""

_DELIMITERS = ",;\t|"
_ALIASES = {"char": "bpchar", "character": "bpchar", "character varying": "varchar", "integer": "int4", "int": "int4"}
_ALIASES |= {"bigint": "int8", "smallint": "int2", "boolean": "bool", "double precision": "float8", "real": "float4"}
_ALIASES |= {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "decimal": "numeric",
}
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:]', re.DOTALL)


class Finding(NamedTuple):
    """One find: ``row`` counts data rows from 0; ``start`` and ``end`` are code points of the original cell."""

    row: int
    column: str
    start: int
    end: int
    entity: str
    detector: str


class MaskedFile(NamedTuple):
    """The masked text and what was found in it, in order of column, then row."""

    text: str
    findings: list[Finding]


def type_name(declared: str) -> str:
    """``pg_type.typname`` of a type as people write it: ``text[]`` is ``_text``, ``varchar(20)`` is ``varchar``."""
    bare = re.sub(r"\s*\([^)]*\)", "", declared.strip().lower())
    if bare.endswith("[]"):
        return "_" + type_name(bare[:-2])
    return _ALIASES.get(bare, bare)


def mask_csv(text: str, finder: Finder) -> MaskedFile:
    """Mask a CSV text (RFC 4180; comma, else the first of ``;`` tab ``|`` that its header holds).

    The header is read as well: a file without one starts with data. Fields beyond the header are columns without a
    name.
    """
    head = text.splitlines()[0] if text else ""
    delimiter = next((d for d in _DELIMITERS if d in head), ",")
    records = [*_records(text, delimiter)]
    if not records:
        return MaskedFile(text, [])
    names = [_decoded(field) for field in records[0][0]]
    findings: list[Finding] = []
    width = max(len(fields) for fields, _ in records)
    for place in range(width):
        name = names[place].lstrip("\ufeff") if place < len(names) else ""
        rows = [(n, fields) for n, (fields, _) in enumerate(records) if place < len(fields)]
        decoded = [_decoded(fields[place]) for _, fields in rows]
        distinct = list(dict.fromkeys(decoded))
        found = dict(zip(distinct, finder.scan(name, distinct, EVERYTHING), strict=True))
        for (n, fields), cell in zip(rows, decoded, strict=True):
            if spans := found[cell]:
                fields[place] = _encoded(replaced(cell, spans), delimiter, quoted=fields[place].startswith('"'))
                findings += _findings(n - 1, name or str(place), spans)
    masked = "".join(delimiter.join(fields) + end for fields, end in records)
    return MaskedFile(masked, [finding for finding in findings if finding.row >= 0])


def mask_json_lines(text: str, finder: Finder) -> MaskedFile:
    """Mask JSON lines: ``{"columns": [{"name", "pg_type"}]}``, echoed, then ``{"r": [cells]}``.

    A row's other keys are dropped: what is not named as a cell is not masked, so it is not written either.

    Raises:
        ValueError: a line is not of that shape; the message names the line, never what it holds.
    """
    lines = text.split("\n")
    columns = _columns(lines[0])
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            cells = _row_cells(line, number)
            if len(cells) != len(columns):
                raise ValueError(f"line {number}: {len(cells)} cells, but {len(columns)} columns")
            rows.append((number, cells))
    findings: list[Finding] = []
    for place, (name, kind) in enumerate(columns):
        raw = [cells[place] for _, cells in rows]
        masked, found = _column(name, kind, dict.fromkeys(raw), finder)
        for n, (_, cells) in enumerate(rows):
            findings += _findings(n, name, found.get(cells[place], ()))
            cells[place] = masked.get(cells[place], cells[place])
    body = "".join(f'{{"r": [{", ".join(cells)}]}}\n' for _, cells in rows)
    return MaskedFile(f"{lines[0]}\n{body}", findings)


def _column(
    name: str, kind: str, raw: Iterable[str], finder: Finder
) -> tuple[dict[str, str], dict[str, tuple[Span, ...]]]:
    """Masked raw JSON, and findings, of the distinct raw cells that have any."""
    masked: dict[str, str] = {}
    found: dict[str, tuple[Span, ...]] = {}
    texts: dict[str, str] = {}
    documents: dict[str, str] = {}
    for cell in raw:
        if cell in {"null", "true", "false"}:
            continue
        value: Any = orjson.loads(cell) if cell[0] == '"' else cell
        if is_gated(kind) and looks_gated(value):
            continue
        (documents if cell[0] in "[{" or (cell[0] == '"' and kind in DOCUMENTS) else texts)[cell] = value
    for (cell, value), spans in zip(
        list(documents.items()), document_spans(finder, name, list(documents.values()), EVERYTHING), strict=True
    ):
        if spans is None:  # a json cell that holds a bare text: it is read as text
            texts[cell] = value
        elif spans:
            spliced = splice(value, spans)
            masked[cell] = orjson.dumps(spliced).decode() if cell[0] == '"' else spliced
            found[cell] = tuple(span for span, _ in spans)
    for (cell, value), hits in zip(texts.items(), finder.scan(name, list(texts.values()), EVERYTHING), strict=True):
        if hits:
            masked[cell] = orjson.dumps(replaced(value, hits)).decode()
            found[cell] = hits
    return masked, found


def _columns(line: str) -> list[tuple[str, str]]:
    try:
        head = orjson.loads(line)
        return [(str(column["name"]), type_name(str(column["pg_type"]))) for column in head["columns"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ValueError('line 1: expected {"columns": [{"name": …, "pg_type": …}]}') from None


def _row_cells(line: str, number: int) -> list[str]:
    """The raw JSON of each cell of a row."""
    try:
        row = orjson.loads(line)
        count = len(row["r"]) if isinstance(row["r"], list) else -1
    except (orjson.JSONDecodeError, KeyError, TypeError):
        count = -1
    raw: list[str] = []
    depth = 0
    previous = ("", "")
    start: int | None = None
    for token in _JSON_TOKEN.finditer(line):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth == 2 and mark == "[" and previous == ('"r"', ":"):
                if raw:
                    raise ValueError(f"line {number}: two rows in one line")
                start = token.end()
        elif mark in "]}":
            if depth == 2 and start is not None:
                raw.append(line[start : token.start()].strip())
                start = None
            depth -= 1
        elif mark == "," and depth == 2 and start is not None:
            raw.append(line[start : token.start()].strip())
            start = token.end()
        previous = (previous[1], mark)
    if raw == [""]:
        raw = []
    if len(raw) != count:
        raise ValueError(f'line {number}: expected {{"r": [cells]}}')
    return raw


def _records(text: str, delimiter: str) -> Iterator[tuple[list[str], str]]:
    """Raw fields and the line end of every record, as written."""
    field = re.compile(rf'"(?:[^"]|"")*+(?:"[^{re.escape(delimiter)}\r\n]*+)?|[^{re.escape(delimiter)}\r\n]*+')
    fields: list[str] = []
    at = 0
    while at < len(text) or fields:
        match = field.match(text, at)
        raw = match[0] if match else ""
        fields.append(raw)
        at += len(raw)
        if text.startswith(delimiter, at):
            at += 1
            if at == len(text):
                fields.append("")
            else:
                continue
        end = "\r\n" if text.startswith("\r\n", at) else text[at : at + 1]
        yield fields, end
        at += len(end)
        fields = []


def _decoded(raw: str) -> str:
    if not raw.startswith('"'):
        return raw
    body, quote, rest = raw[1:].rpartition('"')
    return (body + rest if quote else raw[1:]).replace('""', '"')


def _encoded(text: str, delimiter: str, *, quoted: bool) -> str:
    if quoted or any(c in text for c in (delimiter, '"', "\r", "\n")):
        return '"' + text.replace('"', '""') + '"'
    return text


def _findings(row: int, column: str, spans: Iterable[Span]) -> Iterator[Finding]:
    return (Finding(row, column, *span) for span in spans)
