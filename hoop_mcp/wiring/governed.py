"""Opens the governed databases that settings name, with their logins checked."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.adapters.postgres_checks import worth_telling
from hoop_mcp.errors import SettingsError
from hoop_mcp.policy.grants import RelationColumns
from hoop_mcp.wiring.addresses import addresses, references
from hoop_mcp.wiring.naming import unknown_names
from hoop_mcp.wiring.policies import read_governance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from hoop_mcp.adapters.postgres_checks import Finding
    from hoop_mcp.settings import Settings
    from hoop_mcp.sql.catalogue import Catalogue

_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table", "v": "view", "m": "materialized view"}


@asynccontextmanager
async def open_databases(
    settings: Settings, catalogues: Mapping[str, Catalogue], *, only: str | None = None, full_alone: bool = False
) -> AsyncIterator[Mapping[str, PostgresDatabase]]:
    """Every database of the settings (or one), connected; closed at the end. For *full_alone* see :func:`addresses`.

    Raises:
        SettingsError: an address is missing.
        DatabaseUnavailable: one cannot be reached.
    """
    async with AsyncExitStack() as stack:
        opened: dict[str, PostgresDatabase] = {}
        for database in settings.databases:
            if only is not None and database.name != only:
                continue
            dsns = await stack.enter_async_context(addresses(database, full_alone=full_alone))
            connected = await PostgresDatabase.open(
                database.name,
                dsns,
                search_path=database.search_path,
                catalogue=catalogues[database.name],
                references=references(database),
            )
            stack.push_async_callback(connected.close)
            opened[database.name] = connected
        yield opened


async def check_logins(databases: Mapping[str, PostgresDatabase], accepted: Sequence[str]) -> tuple[Finding, ...]:
    """Refuse logins that could do more than the analysis assumes, unless settings accept the risk by name.

    Returns:
        The findings that settings accept, for the journal.

    Raises:
        SettingsError: one line for each other finding that is worth telling, with the mend.
    """
    taken: list[Finding] = []
    faults: list[str] = []
    for name, database in databases.items():
        findings = await database.findings()
        taken += (finding for finding in findings if finding.risk in accepted)
        faults += (
            f"database {name}: the {finding.login} login {finding.what} ({finding.risk}). Mend: {finding.mend}"
            for finding in worth_telling(findings, accepted)
            if finding.risk not in accepted
        )
    if faults:
        raise SettingsError(tuple(faults))
    return tuple(taken)


async def check_names(settings: Settings, databases: Mapping[str, PostgresDatabase]) -> tuple[str, ...]:
    """Compare the names in catalogues and policies with what the databases have.

    Returns:
        What is unknown and closes nothing, one line each, for whoever watches the server.

    Raises:
        SettingsError: every restriction of what does not exist: the real thing would lie open.
    """
    reading = await asyncio.to_thread(read_governance, settings)
    unknown = unknown_names(settings, reading, {name: await database.names() for name, database in databases.items()})
    found = sorted(each for some in unknown.values() for each in some)
    if opens := tuple(str(each.fault) for each in found if each.opens):
        raise SettingsError(opens)
    return tuple(str(each.fault) for each in found)


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
