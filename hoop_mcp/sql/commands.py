"""What an agent sends that is no statement of data, and what to do instead of each.

Told by the first word of the text, before anything is parsed: a parser of SELECTs takes ``LISTEN ch`` for a column with
an alias. Nothing rests on this list for safety: a text whose first word is not here is refused all the same unless it is
read as a SELECT or a write. It is here so that the refusal teaches something.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from hoop_mcp.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Group(NamedTuple):
    """Commands that are refused for one reason. ``why`` follows the command's own name."""

    words: str
    why: str
    instead: str


_GROUPS: Final = (
    _Group(
        "SET RESET DISCARD",
        "changes the session, and the session is the gateway's",
        "Write the statement so that it needs no setting: name tables with their schema, times with AT TIME ZONE.",
    ),
    _Group(
        "BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE",
        "controls a transaction, and every call is one of its own",
        "Send the SELECT alone; to see several things as of one moment, ask for them in one statement.",
    ),
    _Group(
        "PREPARE EXECUTE DEALLOCATE",
        "handles prepared statements, which hide what they run",
        "Send the statement itself, its values as $1, $2 in params.",
    ),
    _Group(
        "DECLARE FETCH MOVE CLOSE",
        "handles a cursor, and no session outlives a call",
        "Send the SELECT with a larger max_rows, or page by a key: WHERE id > $1 ORDER BY id LIMIT 100.",
    ),
    _Group(
        "COPY",
        "moves rows past the masks",
        "Use SELECT, which gives the same rows masked.",
    ),
    _Group(
        "DO CALL",
        "runs code that nobody can read beforehand",
        "Say with SELECT what you want to know.",
    ),
    _Group(
        "LISTEN NOTIFY UNLISTEN",
        "sends or waits for notifications between sessions",
        "Send the SELECT again when you need to know whether something changed.",
    ),
    _Group(
        "LOCK",
        "keeps others from their work",
        "Leave it out: a SELECT sees one consistent moment without it.",
    ),
    _Group(
        "CREATE ALTER DROP TRUNCATE COMMENT GRANT REVOKE REASSIGN IMPORT SECURITY",
        "changes how the database is made or who may use it",
        "Ask the database owner; for a passing result use a common table expression (WITH).",
    ),
    _Group(
        "VACUUM ANALYZE ANALYSE CLUSTER REINDEX REFRESH CHECKPOINT LOAD REPACK",
        "is maintenance, and costs everybody",
        "Ask the database owner.",
    ),
    _Group(
        "DESCRIBE DESC USE PRAGMA",
        "is not a statement of PostgreSQL",
        "Use the describe_table and search_schema tools; pass the database with the call.",
    ),
    _Group(
        "EXPLAIN SHOW",
        "stands alone, never inside another statement",
        "Send EXPLAIN once, before the SELECT.",
    ),
)

_BY_WORD: Final[Mapping[str, _Group]] = MappingProxyType(
    {word: group for group in _GROUPS for word in group.words.split()}
)

WORDS: Final = frozenset(_BY_WORD)
"""Every command with a refusal of its own."""


def refused_command(word: str) -> Refused | None:
    """The refusal for a text that begins with *word* (as written), or None where the word is not a command here."""
    name = word.upper() if word.isascii() else ""
    group = _BY_WORD.get(name)
    return None if group is None else Refused("HOOP205", f"{name} {group.why}.", group.instead)
