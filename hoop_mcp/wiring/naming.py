"""Whether settings, policies, catalogues and databases mean the same things by the same names.

A name that nothing has is almost always a slip of the pen, and each slip has its direction. A column of the catalogue
that does not exist leaves the real one unclassified, an opening rule for a table that does not exist opens nothing:
both err on the side of too little, and are told. A *restriction* of a table that does not exist leaves the real one
open: that is a fault that keeps a server from starting.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hoop_mcp.documents import Fault, Locator, decode, load, suggest
from hoop_mcp.policy.rules import Mode
from hoop_mcp.sql.catalogue import split_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hoop_mcp.documents import Plain
    from hoop_mcp.policy.document import PolicyFile
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.settings import Settings
    from hoop_mcp.wiring.policies import Reading

Names = dict[str, tuple[str, ...]]
"""The columns of a database by relation, ``schema.table``."""

_SYSTEM = ("pg_catalog.", "information_schema.")


class Unknown(NamedTuple):
    """A name that nothing has. ``opens`` is whether something lies open that the name was meant to close."""

    fault: Fault
    opens: bool = False


def unknown_identity(settings: Settings, policies: PolicySet) -> tuple[Fault, ...]:
    """Roles and purposes that settings give and no policy speaks of."""
    plain, locator = _document(Path(settings.source))
    known = {
        "roles": frozenset[str]().union(*(policy.roles for policy in policies.policies)),
        "purposes": frozenset[str]().union(*(policy.purposes or () for policy in policies.policies)),
    }
    found = []
    for key, words in known.items():
        for place, word in enumerate(_listed(plain, "identity", "local", key)):
            if word not in words:
                what = f"no policy speaks of the {key[:-1]} '{word}'{suggest(str(word), words)}"
                found.append(locator.fault(("identity", "local", key, place), what))
    return tuple(found)


def somebody_may_act(settings: Settings, policies: PolicySet) -> bool:
    """Whether some policy speaks to some role and purpose that settings give."""
    return any(
        policies.in_scope(database.name, role, purpose)
        for database in settings.databases
        for role in settings.local.roles
        for purpose in settings.local.purposes
    )


def unknown_names(settings: Settings, reading: Reading, databases: Mapping[str, Names]) -> dict[str, list[Unknown]]:
    """The names of tables and columns that the databases do not have, by database.

    Args:
        settings: which catalogue describes which database.
        reading: the policies, readable and with their places.
        databases: what each database has. A policy that speaks about another database as well is not looked at: the
            name may be that one's.
    """
    found: dict[str, list[Unknown]] = {name: [] for name in databases}
    for database in settings.databases:
        if database.name in databases:
            found[database.name] += _of_catalogue(Path(database.catalogue), databases[database.name])
    for file in reading.policies:
        spoken = sorted(file.policy.databases)
        if not all(name in databases for name in spoken):
            continue
        there: Names = {relation: columns for name in spoken for relation, columns in databases[name].items()}
        found[spoken[0]] += _of_policy(file, there)
    return found


def _of_catalogue(path: Path, there: Names) -> Iterator[Unknown]:
    plain, locator = _document(path)
    told: set[str] = set()
    for spelled in _entries(plain, "columns"):
        schema, table, column = split_name(spelled, 3) or ("", "", "")
        relation = f"{schema}.{table}"
        if relation not in there:
            if relation not in told and not relation.startswith(_SYSTEM):
                told.add(relation)
                yield Unknown(locator.fault(("columns", spelled), _no_table(relation, there), at_key=True))
        elif column not in there[relation]:
            what = f"{relation} has no column '{column}'{suggest(column, there[relation])}"
            yield Unknown(locator.fault(("columns", spelled), what, at_key=True))
    for spelled, said in _entries(plain, "tables").items():
        relation = ".".join(split_name(spelled, 2) or ())
        if relation not in there and not relation.startswith(_SYSTEM):
            restricts = said == "restricted"
            fault = locator.fault(("tables", spelled), _no_table(relation, there), at_key=True)
            yield Unknown(fault, opens=restricts)


def _of_policy(file: PolicyFile, there: Names) -> Iterator[Unknown]:
    schemas = frozenset(relation.partition(".")[0] for relation in there)
    enforced = file.policy.mode is Mode.ENFORCE
    for index, rule in enumerate(file.document.rules):
        closes = rule.then != "allow" and enforced
        for fact, names in (("only_tables", rule.when.only_tables), ("any_tables", rule.when.any_tables)):
            for place, relation in enumerate(names or ()):
                if relation not in there and not relation.startswith(_SYSTEM):
                    fault = file.locator.fault(("rules", index, "when", fact, place), _no_table(relation, there))
                    yield Unknown(fault, opens=closes)
        for place, schema in enumerate(rule.when.only_schemas or ()):
            if schema not in schemas and f"{schema}." not in _SYSTEM:
                what = f"there is no table or view in a schema '{schema}'{suggest(schema, schemas)}"
                yield Unknown(file.locator.fault(("rules", index, "when", "only_schemas", place), what), opens=closes)


def _no_table(relation: str, there: Names) -> str:
    return f"there is no table or view {relation}{suggest(relation, there)}"


def _document(path: Path) -> tuple[Plain, Locator]:
    """A file that has been read before; nothing where it cannot be read any more."""
    try:
        text, _ = decode(path.read_bytes(), str(path))
    except OSError:
        text = None
    plain, _, locator = load(text or "", str(path))
    return plain, locator


def _entries(plain: Plain, key: str) -> dict[str, Plain]:
    found = plain.get(key) if isinstance(plain, dict) else None
    return found if isinstance(found, dict) else {}


def _listed(plain: Plain, *path: str) -> list[Plain]:
    for step in path:
        plain = plain.get(step) if isinstance(plain, dict) else None
    return plain if isinstance(plain, list) else []
