"""Opens the governed databases that settings name, with their logins checked."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.errors import SettingsError
from hoop_mcp.policy.grants import RelationColumns
from hoop_mcp.wiring.addresses import addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from hoop_mcp.adapters.postgres_checks import Finding
    from hoop_mcp.settings import Settings
    from hoop_mcp.sql.catalogue import Catalogue

_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table", "v": "view", "m": "materialized view"}


@asynccontextmanager
async def open_databases(
    settings: Settings, catalogues: Mapping[str, Catalogue], *, only: str | None = None
) -> AsyncIterator[Mapping[str, PostgresDatabase]]:
    """Every database of the settings (or one), connected; closed at the end.

    Raises:
        SettingsError: an address is missing.
        DatabaseUnavailable: one cannot be reached.
    """
    async with AsyncExitStack() as stack:
        opened: dict[str, PostgresDatabase] = {}
        for database in settings.databases:
            if only is not None and database.name != only:
                continue
            dsns = await stack.enter_async_context(addresses(database))
            connected = await PostgresDatabase.open(
                database.name, dsns, search_path=database.search_path, catalogue=catalogues[database.name]
            )
            stack.push_async_callback(connected.close)
            opened[database.name] = connected
        yield opened


async def check_logins(databases: Mapping[str, PostgresDatabase], accepted: Sequence[str]) -> tuple[Finding, ...]:
    """Refuse logins that could do more than the analysis assumes, unless settings accept the risk by name.

    Returns:
        The findings that settings accept, for the journal.

    Raises:
        SettingsError: one line for each other finding, with the SQL that mends it.
    """
    taken: list[Finding] = []
    faults: list[str] = []
    for name, database in databases.items():
        for finding in await database.findings():
            if finding.risk in accepted:
                taken.append(finding)
            else:
                faults.append(
                    f"database {name}: the {finding.login} login {finding.what} ({finding.risk}). Mend: {finding.mend}"
                )
    if faults:
        raise SettingsError(tuple(faults))
    return tuple(taken)


async def relation_columns(database: PostgresDatabase) -> tuple[RelationColumns, ...]:
    """Every table and view with the categories that each column can show: what grants are made from."""
    return tuple(
        RelationColumns(
            schema=relation.schema,
            name=relation.name,
            kind=_KINDS[relation.kind],
            columns=tuple(
                (
                    column.name,
                    frozenset(database.catalogue.classify(ref).category for ref in column.sources),
                )
                for column in relation.columns.values()
            ),
        )
        for relation in (await database.relations()).values()
    )
