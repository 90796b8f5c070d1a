"""``policy explain -``: one JSON line in, one JSON line out, whatever the line holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from hoop_mcp.errors import CODES, HoopError, Refused
from hoop_mcp.policy.assessment import Assessment

if TYPE_CHECKING:
    from hoop_mcp.policy.assessment import Asking, Judge
    from hoop_mcp.terms import JsonValue

MAX_LINE_BYTES = 1_000_000


class Answered(NamedTuple):
    """The assessment of one line; ``analysed`` is False where the judge was not asked or could not answer."""

    ident: JsonValue
    assessment: Assessment
    analysed: bool


class _Line(NamedTuple):
    ident: JsonValue
    sql: str
    params: tuple[JsonValue, ...]


async def answer_line(line: bytes, judge: Judge, asking: Asking) -> Answered:
    """Assess one line ``{"id", "sql", "params"?}``; a line that cannot be read is answered with a code, never raised.

    What breaks inside the judge is answered too, with HOOP199, so that one statement cannot end a batch; nothing of
    the exception is told.
    """
    read = _read(line)
    if isinstance(read, Answered):
        return read
    try:
        return Answered(read.ident, await judge.assess(read.sql, read.params, asking), analysed=True)
    except Refused as refusal:
        return Answered(read.ident, Assessment.refused(refusal), analysed=True)
    except HoopError:
        return _unanswered(read.ident, "HOOP501", CODES["HOOP501"].meaning)
    except Exception:
        return _unanswered(read.ident, "HOOP199", CODES["HOOP199"].meaning)


def as_line(answered: Answered) -> bytes:
    """The answer as one line of JSON, with its line feed."""
    return orjson.dumps(answered.assessment.as_json(answered.ident), option=orjson.OPT_APPEND_NEWLINE)


def _read(line: bytes) -> _Line | Answered:
    if len(line) > MAX_LINE_BYTES:
        return _unanswered(None, "HOOP105", "The line is too long.")
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _unanswered(None, "HOOP105", "The line is not JSON.")
    if not isinstance(given, dict):
        return _unanswered(None, "HOOP105", "The line is not a JSON object.")
    ident = given.get("id")
    sql, params = given.get("sql"), given.get("params")
    if not isinstance(sql, str):
        return _unanswered(ident, "HOOP105", "The line has no text under sql.")
    if params is not None and not isinstance(params, list):
        return _unanswered(ident, "HOOP105", "The params of the line are not a list.")
    return _Line(ident, sql, tuple(params or ()))


def _unanswered(ident: JsonValue, code: str, why: str) -> Answered:
    return Answered(ident, Assessment.refused(Refused(code, why)), analysed=False)
