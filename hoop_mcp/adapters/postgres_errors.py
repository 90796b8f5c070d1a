"""A server error to a refusal: a code and a sentence of ours, never the server's message, detail, hint or context.

PostgreSQL's messages quote values ("invalid input syntax for type integer: "a@b.c"", "Key (email)=(…) already exists"),
so nothing of them is passed on but the SQLSTATE.
"""

from __future__ import annotations

import re

import asyncpg

from hoop_mcp.errors import Refused

_UNKNOWN_NAME = {
    "42P01": "The statement names a relation that PostgreSQL does not find on this search path.",
    "42703": "The statement names a column that PostgreSQL does not find.",
    "42883": "The statement calls a function or operator that does not exist for these types.",
    "42704": "The statement names a type or object that does not exist.",
    "3F000": "The statement names a schema that does not exist.",
    "42702": "A column name in the statement is ambiguous.",
    "42P09": "A name in the statement is ambiguous.",
    "42725": "A function call in the statement fits several functions.",
    "42803": "A column is neither grouped nor aggregated.",
    "42804": "Two types in the statement do not fit together.",
    "42846": "A cast in the statement does not exist.",
    "42P18": "The type of a parameter cannot be told from the statement.",
    "42P08": "The type of a parameter is ambiguous.",
    "42P10": "A column reference in the statement is out of place.",
    "42P02": "The statement uses a parameter that was not given.",
}


def refusal_for(error: BaseException, *, parsing: bool, sql: str = "") -> Refused:
    """The refusal for what the driver raised while parsing or running an agent's statement.

    Where PostgreSQL gives a position in *sql*, the refusal says line and column, and the name that stands there: the
    agent's own words, never the server's. Only a plain name is repeated, cut out of *sql* and not of the message.
    """
    state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
    if state is None:
        if isinstance(error, asyncpg.InterfaceError) and not _lost(error):
            return Refused("HOOP214", "The parameters do not fit the statement.")
        return Refused("HOOP506", "The connection to the database was lost.")
    state = str(state)
    if parsing and state in _UNKNOWN_NAME:
        return Refused("HOOP209", _UNKNOWN_NAME[state] + _spot(error, sql, name=True))
    if state == "42601":
        return Refused("HOOP203", "PostgreSQL cannot read the statement." + _spot(error, sql, name=False))
    if state == "42501":
        return Refused("HOOP504", "PostgreSQL refused this login a privilege the statement needs.")
    if state in ("57014", "25P03"):
        return Refused("HOOP502", "The statement ran into its time limit.")
    if state == "55P03":
        return Refused("HOOP502", "A table is locked by somebody else just now.")
    if state in ("53200", "53400", "54000"):  # out of memory, over temp_file_limit, a value beyond a gigabyte
        return Refused("HOOP502", "The statement needs more memory or temporary space than it may use.")
    if state in ("57P01", "57P02", "57P03", "57P05") or state.startswith("08"):
        return Refused("HOOP506", "The database ended the connection.")
    if state == "25006":
        return Refused("HOOP206", "The statement tried to write.")
    if (
        state == "0A000" and not parsing
    ):  # "cached plan must not change result type": a kept statement's columns changed
        return Refused("HOOP505", "What the statement depends on changed, and it returns other columns now.")
    if parsing and state.startswith("42"):
        return Refused(
            "HOOP209", f"PostgreSQL refused the statement's form (SQLSTATE {state})." + _spot(error, sql, name=False)
        )
    return Refused("HOOP503", f"PostgreSQL raised an error (SQLSTATE {state}).")


def _spot(error: BaseException, sql: str, *, name: bool) -> str:
    """`` It is public.custmers at line 1, column 15.``, or nothing where PostgreSQL gave no position in *sql*."""
    given = str(getattr(error, "position", None) or "")  # in characters, from 1 (PostgreSQL, "Error and Notice Fields")
    place = int(given) - 1 if given.isdecimal() else -1
    if not 0 <= place < len(sql):
        return ""
    line = sql.count("\n", 0, place) + 1
    column = place - (sql.rfind("\n", 0, place) + 1) + 1
    found = _NAME.match(sql, place) if name else None
    what = f"It is {found[0]}, at" if found is not None else "It is at"
    return f" {what} line {line}, column {column}."


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}(?:\.[A-Za-z_][A-Za-z0-9_$]{0,62}){0,2}(?![A-Za-z0-9_$\"'])")


def _lost(error: BaseException) -> bool:
    return isinstance(error, (asyncpg.ConnectionDoesNotExistError, asyncpg.InternalClientError)) or "closed" in str(
        error
    )
