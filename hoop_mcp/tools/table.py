"""The tools an agent sees, as one table: what each is called, says, takes, and turns into.

Schemas are written out instead of generated, because every byte here is read by a model at the start of each
conversation: no generated titles, and an optional argument is simply ``T`` that may be left out (an explicit null
counts as left out). ``tools/list`` is the same for everyone; what a caller may do is the gate's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused
from hoop_mcp.terms import DescribeTable, ListDatabases, RunSql, SearchSchema, WhoAmI
from hoop_mcp.tools import arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hoop_mcp.terms import Ask, JsonValue

MAX_ROWS = 1_000_000  # what may be asked for; policy's limits decide what is given
KINDS = ("table", "view", "column")
NOT_YET = ("execute", "request_approval", "approval_result", "withdraw_approval")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: its JSON Schema, and the check that makes a typed value of it or raises Refused (HOOP105)."""

    name: str
    schema: Mapping[str, JsonValue]
    check: Callable[[object], object]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing an agent may ask for.

    The four hints are MCP's tool annotations: what a client may show a person, never a permission.
    """

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    build: Callable[[Mapping[str, object]], Ask]
    read_only: bool = True
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False

    def read(self, given: Mapping[str, object]) -> Ask:
        """The checked request.

        Raises:
            Refused: HOOP105, saying what the argument must be; never what was sent.
        """
        known = {argument.name for argument in self.arguments}
        if not given.keys() <= known:
            # A misspelt limit or purpose must not silently count as none.
            takes = ", ".join(argument.name for argument in self.arguments) or "no arguments"
            raise Refused("HOOP105", f"{self.name} was given an argument it does not know.", f"It takes: {takes}.")
        taken: dict[str, object] = {}
        for argument in self.arguments:
            value = given.get(argument.name)
            if value is not None:
                taken[argument.name] = argument.check(value)
            elif argument.required:
                raise Refused("HOOP105", f"{argument.name} is missing.", f"Send {argument.name}.")
        return self.build(taken)

    def input_schema(self) -> dict[str, JsonValue]:
        """JSON Schema of the arguments, closed: an unknown name is a mistake worth telling."""
        schema: dict[str, JsonValue] = {
            "type": "object",
            "properties": {argument.name: dict(argument.schema) for argument in self.arguments},
            "additionalProperties": False,
        }
        required: list[JsonValue] = [argument.name for argument in self.arguments if argument.required]
        if required:
            schema["required"] = required
        return schema


OUTPUT_SCHEMA: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"status": {"type": "string"}},
    "required": ["status"],
}
"""Shallow on purpose: a client that validates 10,000 rows against a nested schema spends longer than the database."""


def _string(says: str) -> dict[str, JsonValue]:
    return {"type": "string", "description": says}


def _name(name: str, says: str, *, required: bool = False) -> Argument:
    return Argument(name, _string(says), lambda value: arguments.text(name, value, arguments.MAX_NAME), required)


_SQL = Argument(
    "sql",
    _string("One PostgreSQL SELECT, or EXPLAIN of one, or SHOW; values as $1, $2."),
    lambda value: arguments.statement("sql", value),
    required=True,
)
_PARAMS = Argument(
    "params",
    {"type": "array", "items": {}, "description": "Values for $1, $2, … in order."},
    lambda value: arguments.values("params", value),
)
_DATABASE = _name("database", "Needed when list_databases lists several.")
_PURPOSE = _name("purpose", "Why the data is processed; needed when whoami lists several.")
_ROLE = _name("role", "Needed when whoami lists several.")
_REASON = Argument(
    "reason",
    _string("Why, in a sentence, for the record; with the ticket if a rule asks for one."),
    lambda value: arguments.text("reason", value, arguments.MAX_REASON),
)
_MAX_ROWS = Argument(
    "max_rows",
    {"type": "integer", "minimum": 1, "description": "At most this many rows; policy may allow fewer."},
    lambda value: arguments.whole("max_rows", value, 1, MAX_ROWS),
)
_KIND = Argument(
    "kind",
    {"type": "string", "enum": list(KINDS)},
    lambda value: arguments.choice("kind", value, KINDS),
)

TOOLS: tuple[Tool, ...] = (
    Tool(
        "query",
        "Query a database",
        "Run one SELECT and get its rows. Personal data comes back masked: columns[].mask names what was done, and a "
        "masked value is final. Filtering, sorting, grouping or joining on personal data counts as revealing it and "
        "is usually refused: select by an id, or compare a lookup column with = $1. A refusal starts with HOOPnnn and "
        "says what to do instead; repeating the same call does not help. Writes are refused. Every call is recorded.",
        (_SQL, _PARAMS, _DATABASE, _PURPOSE, _ROLE, _REASON, _MAX_ROWS),
        lambda taken: RunSql("query", **taken),  # type: ignore[arg-type]  # the checks above made these types
    ),
    Tool(
        "explain",
        "Judge a query without running it",
        "Say what query would do with a statement and why: allowed or refused, which columns would be masked, which "
        "rules decide, and PostgreSQL's plan. Nothing runs and no row is read.",
        (_SQL, _PARAMS, _DATABASE, _PURPOSE, _ROLE),
        lambda taken: RunSql("explain", **taken),  # type: ignore[arg-type]  # as above
    ),
    Tool(
        "list_databases",
        "List databases",
        "The databases that some policy opens to you.",
        (),
        lambda _: ListDatabases(),
    ),
    Tool(
        "search_schema",
        "Search tables and columns",
        "Find tables, views and columns by a part of their name. A table that no policy opens to you is not listed.",
        (_name("pattern", "Part of a name, any case; all if left out."), _KIND, _DATABASE),
        lambda taken: SearchSchema(**taken),  # type: ignore[arg-type]  # as above
    ),
    Tool(
        "describe_table",
        "Describe a table",
        "One table's columns, types, keys and foreign keys, and for personal columns their category and the mask they "
        "get when selected plainly; 'by policy' means that it depends on the statement: explain tells.",
        (_name("table", "Its name, or schema.name.", required=True), _DATABASE),
        lambda taken: DescribeTable(**taken),  # type: ignore[arg-type]  # as above
    ),
    Tool(
        "whoami",
        "Show my own standing",
        "Who the gateway takes you for: principal, roles, purposes, databases, and the limits that hold for you.",
        (),
        lambda _: WhoAmI(),
    ),
)
"""In the order an agent meets them; the order is part of the surface."""

_BY_NAME = {tool.name: tool for tool in TOOLS}


def read_call(name: str, given: Mapping[str, object]) -> Ask:
    """What the agent asks for.

    Raises:
        Refused: HOOP107 for a tool that has a name already and is not served, HOOP105 for any other unknown tool
            and for arguments that are not usable as given.
    """
    tool = _BY_NAME.get(name)
    if tool is not None:
        return tool.read(given)
    listed = ", ".join(_BY_NAME)
    if name in NOT_YET:
        raise Refused("HOOP107", f"{name} is not served by this gateway yet.", f"It serves: {listed}.")
    raise Refused("HOOP105", "There is no such tool.", f"Use one of: {listed}.")
