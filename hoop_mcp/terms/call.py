"""Who asks, and for what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Client:
    """The program that speaks MCP, as it names itself: never a reason to allow anything."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Credential:
    """The facts a transport saw; :mod:`hoop_mcp.identity` makes a :class:`Principal` of them, or nobody.

    On stdio the operating system's account is the only authority there is. ``session`` is the process there.
    """

    transport: str
    session: str
    os_user: str | None = None
    client: Client | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Never the data subject, who is *in* the data.

    ``ident`` is stable across sessions ("local:deploy"); ``roles`` and ``purposes`` are what this principal may act
    under, sorted. ``behind`` is the human the agent works for, where the transport proves one.
    """

    ident: str
    actor: str
    roles: tuple[str, ...]
    purposes: tuple[str, ...]
    session: str
    behind: str | None = None
    client: Client | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Mandate:
    """The one role and the one purpose (GDPR Art. 5(1)(b)) a call runs under."""

    role: str
    purpose: str


@dataclass(frozen=True, slots=True)
class RunSql:
    """``query`` runs the statement, ``explain`` only judges and plans it.

    ``params`` are the JSON values for ``$1``, ``$2``, in order; their text must never reach a ``repr``.
    """

    tool: str
    sql: str = field(repr=False)
    params: tuple[JsonValue, ...] = field(default=(), repr=False)
    database: str | None = None
    purpose: str | None = None
    role: str | None = None
    reason: str | None = field(default=None, repr=False)
    max_rows: int | None = None


@dataclass(frozen=True, slots=True)
class ListDatabases:
    """The databases some policy opens to the caller."""

    tool: str = "list_databases"


@dataclass(frozen=True, slots=True)
class SearchSchema:
    """Tables and columns whose name contains ``pattern`` (case folded); ``kind`` is table, view or column."""

    pattern: str | None = None
    kind: str | None = None
    database: str | None = None
    tool: str = "search_schema"


@dataclass(frozen=True, slots=True)
class DescribeTable:
    """One table's columns, types, keys and categories."""

    table: str
    database: str | None = None
    tool: str = "describe_table"


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """The caller's own standing: roles, purposes, databases, limits."""

    tool: str = "whoami"


@dataclass(frozen=True, slots=True)
class Malformed:
    """A call whose arguments are of no use: it is refused and journaled like any other.

    ``tool`` is a name of ours, or "unknown": what an agent wrote in its place is the agent's text.
    """

    tool: str
    code: str
    reason: str
    instead: str


Ask: TypeAlias = RunSql | ListDatabases | SearchSchema | DescribeTable | WhoAmI | Malformed


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One request of an agent, before anything is believed of it. ``call_id`` is ours, never the client's."""

    call_id: str
    credential: Credential
    ask: Ask
