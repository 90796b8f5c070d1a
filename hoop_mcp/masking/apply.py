"""Columns in, a masked answer out: operators over traced columns, detection over the others, one JSON text.

Every column stands alone: what fails in one withholds that column (all its cells become null, and it is named in
``failed``) and no other. There is no path on which a cell that was to be masked or read is answered as it came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hoop_mcp.masking.cells import count_entities, scan_cells
from hoop_mcp.masking.operators import Redact, label_of, operator_for
from hoop_mcp.masking.pgtypes import looks_gated
from hoop_mcp.masking.spans import replaced
from hoop_mcp.masking.values import decoder
from hoop_mcp.terms import Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoop_mcp.masking.cells import Finder
    from hoop_mcp.masking.plan import ColumnPlan, MaskPlan

FAILED = "FAILED_CLOSED"
"""The entity under which a withheld column's cells are counted."""

NO_FINDINGS: frozenset[str] = frozenset()


class MaskCount(NamedTuple):
    """How many cells of a column an operator changed, and what they were. Counts, never values."""

    column: int
    operator: str
    entity: str
    cells: int


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked answer.

    ``body_rows`` is a JSON array of arrays; ``names`` are the column names, scanned as well, since they are the
    agent's text; ``failed`` are the 0-based columns that were withheld because masking them failed.
    """

    body_rows: bytes = field(repr=False)
    names: tuple[str, ...]
    counts: tuple[MaskCount, ...] = ()
    failed: tuple[int, ...] = ()


class NeedsDetectionError(Exception):
    """A column must be read and there is no detector here: the plan belongs in the worker."""


def mask_columns(
    plan: MaskPlan,
    columns: Sequence[Sequence[str | None]],
    *,
    finder: Finder | None,
    key: bytes,
    names_are_clean: bool = False,
) -> Masked:
    """Apply a plan.

    Args:
        plan: one place per column.
        columns: the cells, column by column, as PostgreSQL prints them; all columns equally long.
        finder: detection; None only for plans whose ``needs_worker`` is False.
        key: the deployment's pseudonym key, at least 16 bytes.
        names_are_clean: this very plan has been applied before, and nothing was found in its names.

    Raises:
        ValueError: the columns do not fit the plan.
        NeedsDetectionError: detection is needed and ``finder`` is None.
    """
    if len(columns) != len(plan.columns) or len({len(column) for column in columns}) > 1:
        raise ValueError("the rows do not fit the plan")
    rendered: list[Sequence[Any]] = []
    counts: list[MaskCount] = []
    failed: list[int] = []
    for place, (how, cells) in enumerate(zip(plan.columns, columns, strict=True)):
        try:
            values, found = _column(how, cells, finder, key)
        except (MemoryError, NeedsDetectionError):
            raise
        except Exception:  # the cause may quote a value: it is not kept
            failed.append(place)
            values, found = [None] * len(cells), {("redact", FAILED): sum(c is not None for c in cells)}
        rendered.append(values)
        counts += [MaskCount(place, operator, entity, n) for (operator, entity), n in sorted(found.items()) if n]
    try:
        body = orjson.dumps(list(zip(*rendered, strict=True)))
    except orjson.JSONEncodeError:
        body = _without_surrogates(rendered)
    names = tuple(column.name for column in plan.columns)
    return Masked(body, names if names_are_clean else _shown(names, finder), tuple(counts), tuple(failed))


_Counts = dict[tuple[str, str], int]
"""How many cells of a column, by operator and entity."""


def _column(
    how: ColumnPlan, cells: Sequence[str | None], finder: Finder | None, key: bytes
) -> tuple[Sequence[Any], _Counts]:
    if how.mask is not None and how.mask.operator is not Operator.KEEP:
        return _operated(how, cells, key)
    distinct = dict.fromkeys(cells)
    has_null = None in distinct
    texts: list[str] = [text for text in distinct if text is not None]
    scan = how.scan or not looks_gated("\n".join(texts))
    if not scan:
        decode = decoder(how.type_name)
        if decode is None:
            return cells, {}
        if not has_null and len(texts) * 2 > len(cells):
            return [decode(cell) for cell in cells if cell is not None], {}
        typed: dict[str | None, Any] = {text: decode(text) for text in texts}
        typed[None] = None
        return [typed[cell] for cell in cells], {}
    if finder is None:
        raise NeedsDetectionError
    read = scan_cells(finder, how.name, how.type_name, texts, how.final)
    if not read.entities and all(map(is_, read.values.values(), read.values)):
        return cells, {}
    values = read.values
    found = count_entities(cells, read.entities)
    return [None if cell is None else values[cell] for cell in cells], {("redact", e): n for e, n in found.items()}


def _operated(how: ColumnPlan, cells: Sequence[str | None], key: bytes) -> tuple[Sequence[Any], _Counts]:
    assert how.mask is not None  # noqa: S101 - told to the type checker; the caller has looked
    operator = operator_for(how.mask, how.type_name, key=key)
    decode = decoder(how.type_name)
    label = (how.mask.operator.name.lower(), label_of(how.mask))
    told = len(cells) - cells.count(None)
    placeholder = operator.placeholder if isinstance(operator, Redact) and decode is None else None
    if placeholder is not None:
        # One placeholder for every value: nothing to work out cell by cell. Only a stored NULL stays what it is.
        if how.mask.constant or told == len(cells):
            return [placeholder] * len(cells), {label: len(cells)}
        return [None if cell is None else placeholder for cell in cells], {label: told}
    masked: dict[str | None, Any] = {None: None}
    for text in dict.fromkeys(cells):
        if text is not None:
            value = operator(text)
            masked[text] = value if value is None or decode is None else decode(value)
    return [masked[cell] for cell in cells], {label: told}


def _shown(names: tuple[str, ...], finder: Finder | None) -> tuple[str, ...]:
    """Column names as they may be shown."""
    if finder is None or not names:
        return names
    distinct = list(dict.fromkeys(names))
    shown = {
        name: replaced(name, spans) if spans else name
        for name, spans in zip(distinct, finder.scan("", distinct, NO_FINDINGS), strict=True)
    }
    return tuple(shown[name] for name in names)


def _without_surrogates(rendered: Sequence[Sequence[Any]]) -> bytes:
    """Half characters cannot be written in UTF-8 (and PostgreSQL cannot print them): they become U+FFFD."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode("utf-8")
        return [clean(item) for item in value] if isinstance(value, list) else value

    return orjson.dumps([[clean(value) for value in row] for row in zip(*rendered, strict=True)])
