"""What an agent's text asks for: a statement, the plan of one (EXPLAIN), or a setting of the session (SHOW).

Read offline, like the statement itself. Of an EXPLAIN two things are taken: what its options ask for, and where the
statement behind them begins. That slice of the agent's text, byte for byte, is then read as if it had come alone, with
every limit; what runs later is an EXPLAIN of ours over the statement that PostgreSQL prepared from the slice. So nothing
here has to agree with PostgreSQL's own reading of EXPLAIN: a slice that begins in the wrong place is another statement,
and judged as that.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hoop_mcp.errors import Refused
from hoop_mcp.sql.reader import check_disguises, check_text, read, several, words
from hoop_mcp.terms import Explain, Show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hoop_mcp.sql.reader import Word
    from hoop_mcp.terms import Request

_MAY_BE = re.compile(r"\b(?:explain|show)\b", re.IGNORECASE | re.ASCII)
_STATEMENT = frozenset({"select", "with", "values", "table", "("})
"""What may follow ``EXPLAIN (`` where the bracket belongs to the statement; no option has such a name."""

_TRUE = frozenset({None, "true", "on", "1"})
_FALSE = frozenset({"false", "off", "0"})
_SWITCH = _TRUE | _FALSE
_OPTIONS: Final[Mapping[str, frozenset[str | None]]] = MappingProxyType(
    {
        "analyze": _SWITCH,
        "buffers": _SWITCH,
        "costs": _SWITCH,
        "format": frozenset({"text", "xml", "json", "yaml"}),
        "generic_plan": _SWITCH,
        "memory": _SWITCH,
        "serialize": frozenset({None, "none", "off", "text", "binary"}),
        "settings": _SWITCH,
        "summary": _SWITCH,
        "timing": _SWITCH,
        "verbose": _SWITCH,
        "wal": _SWITCH,
    }
)
"""The options of EXPLAIN up to PostgreSQL 18 (PostgreSQL 18, SQL Commands, EXPLAIN), each with the values it takes."""

_AS_ANSWERED: Final[Mapping[str, frozenset[str | None]]] = MappingProxyType(
    {"format": frozenset({"text"}), "serialize": frozenset({"none", "off"})}
)
"""Values that ask for nothing beyond what is answered anyway; of a switch those are the false ones."""

SHOWN: Final = (
    "server_version",
    "server_version_num",
    "server_encoding",
    "client_encoding",
    "lc_collate",
    "lc_ctype",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "bytea_output",
    "extra_float_digits",
    "integer_datetimes",
    "standard_conforming_strings",
    "search_path",
    "statement_timeout",
    "lock_timeout",
    "transaction_isolation",
    "transaction_read_only",
    "max_identifier_length",
)
"""The settings SHOW may tell: how text, numbers and times are written and read, and the limits an agent runs into.

Left out on purpose, as everything else: files and addresses of the server, its logins, what it logs and how it audits,
and settings of applications (``app.tenant``), which may hold a person's id. Names a server does not have any more
(lc_collate from PostgreSQL 16 on) are refused by the server.
"""

_BY_NAME: Final = MappingProxyType({setting.lower(): setting for setting in SHOWN})


def read_request(sql: str) -> Request:
    """Read what is asked for.

    Raises:
        Refused: HOOP203 an EXPLAIN with options this gateway does not know, HOOP220 a setting that is not told, and
            whatever :func:`hoop_mcp.sql.reader.read` says of the statement.
    """
    if not _MAY_BE.search(sql):
        return read(sql)
    check_text(sql)
    found = words(sql)
    first = found[0].text if found else ""
    if first.isascii() and first.lower() == "explain":
        return _explain(sql, found[0].start + len(first))
    if first.isascii() and first.lower() == "show":
        return _show(sql, found[0].start + len(first))
    return read(sql)


def _explain(sql: str, behind: int) -> Explain:
    found = words(sql, behind)
    options, place = _options(found)
    if place >= len(found):
        raise Refused("HOOP201", "EXPLAIN stands there without a statement.")
    begins = found[place].start
    check_disguises(sql[:begins])
    return Explain(
        statement=read(sql[begins:]),
        analyze=options.get("analyze", "off") in _TRUE,
        omitted=tuple(sorted(_omitted(options))),
    )


def _options(found: Sequence[Word]) -> tuple[dict[str, str | None], int]:
    """The options by name, and how many words they take."""
    said = [word.text.lower() for word in found]
    if said[:1] == ["("] and said[1:2] and said[1] not in _STATEMENT:
        return _listed(said)
    options: dict[str, str | None] = {}
    place = 0
    if said[place : place + 1] in (["analyze"], ["analyse"]):
        options["analyze"] = None
        place += 1
    if said[place : place + 1] == ["verbose"]:
        options["verbose"] = None
        place += 1
    return options, place


def _listed(said: Sequence[str]) -> tuple[dict[str, str | None], int]:
    """``( name [value], … )``."""
    options: dict[str, str | None] = {}
    place = 0
    while place < len(said) and (place == 0 or said[place] == ","):
        name, value = said[place + 1 : place + 2], said[place + 2 : place + 3]
        option = "analyze" if name == ["analyse"] else "".join(name)
        given = None if value in ([","], [")"], []) else value[0].strip("'")
        # Given twice, PostgreSQL takes the last: whoever reads the first is fooled, so it is refused instead.
        if option in options or given not in _OPTIONS.get(option, frozenset()):
            raise _unknown_option()
        options[option] = given
        place += 2 if given is None else 3
    if said[place : place + 1] != [")"]:
        raise _unknown_option()
    return options, place + 1


def _omitted(options: Mapping[str, str | None]) -> list[str]:
    told = []
    for option, value in options.items():
        if option != "analyze" and value not in _AS_ANSWERED.get(option, _FALSE):
            told.append(f"{option} {value}".upper() if option == "format" else option.upper())
    return told


def _show(sql: str, behind: int) -> Show:
    check_disguises(sql)
    said = [word.text for word in words(sql, behind)]
    while said and said[-1] == ";":
        said.pop()
    if ";" in said:
        raise several(2)
    name = " ".join(said).lower()
    name = "timezone" if name == "time zone" else name.strip('"')
    setting = _BY_NAME.get(name) if name.isascii() else None
    if setting is None:
        raise Refused(
            "HOOP220",
            "SHOW tells only settings that say nothing of the server's files, logins or people.",
            f"SHOW one of: {', '.join(SHOWN)}.",
        )
    return Show(setting)


def takes(wanted: int, came: int) -> str:
    """What HOOP214 says where the numbers differ."""
    return f"The statement takes {wanted} parameter{'' if wanted == 1 else 's'} and {came} came."


def _unknown_option() -> Refused:
    return Refused(
        "HOOP203",
        "EXPLAIN has an option, a value of one, or one given twice, that this gateway does not read.",
        "Send EXPLAIN SELECT …, or EXPLAIN ANALYZE SELECT …; the plan has one form whatever the options say.",
    )
