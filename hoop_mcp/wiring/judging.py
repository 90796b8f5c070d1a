"""A judge over live catalogs: reads, resolves, traces and decides; runs nothing and journals nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.adapters.reading_worker import ReadingWorker
from hoop_mcp.analyst import Analyst, one_column, only_reads
from hoop_mcp.errors import DatabaseUnavailable, Refused, SettingsError
from hoop_mcp.journal.telling import Trail
from hoop_mcp.policy.assessment import Asking, Assessment
from hoop_mcp.policy.grants import grants
from hoop_mcp.sql.plans import plan_form
from hoop_mcp.sql.requests import takes
from hoop_mcp.sql.resolved import Login
from hoop_mcp.terms import Credential, Effect, Explain, Mandate, Principal, RunSql, Show, ToolCall
from hoop_mcp.wiring.governed import check_logins, check_names, open_databases, relation_columns
from hoop_mcp.wiring.policies import load_governance, load_policies
from hoop_mcp.wiring.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hoop_mcp.policy.grants import RelationColumns
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.sql.catalogue import Catalogue
    from hoop_mcp.terms import JsonValue

_NOBODY = Credential(transport="explain", session="explain")


class LiveJudge:
    """Assesses statements; see :class:`hoop_mcp.policy.assessment.Judge`."""

    def __init__(
        self, databases: Mapping[str, PostgresDatabase], policies: PolicySet, resources: AsyncExitStack
    ) -> None:
        self._policies = policies
        self._analyst = Analyst(databases, policies, lambda: datetime.now(UTC))
        self._resources = resources
        self._reading = ReadingWorker()
        resources.push_async_callback(self._reading.close)

    @property
    def policies(self) -> PolicySet:
        """The policies that decide."""
        return self._policies

    async def assess(self, sql: str, params: Sequence[JsonValue], as_: Asking) -> Assessment:
        """Steps 2 to 5 of a call, nothing executed."""
        trail = Trail(ToolCall("explain", _NOBODY, RunSql("query", sql, tuple(params))), policy="", engine="")
        try:
            database = self._analyst.database(as_.database)
            mandate = Mandate(as_.role, as_.purpose or self._only_purpose(database.name, as_.role))
            request = await self._reading(sql)
            only_reads(request, "query")
            principal = Principal(
                ident="explain", actor="agent", roles=(mandate.role,), purposes=(mandate.purpose,), session="explain"
            )
            if isinstance(request, Show):
                judged = self._analyst.decide(one_column(request.setting), database, principal, mandate, as_.reason)
                return Assessment(judged.decision, judged.facts)
            statement = request.statement if isinstance(request, Explain) else request
            async with self._analyst.resolve(database, statement, trail) as (lease, resolved, analysis):
                count = len(resolved.parameters)
                if params and len(params) != count:
                    raise Refused("HOOP214", takes(count, len(params)))
                await lease.unchanged(resolved)
                judged = self._analyst.decide(analysis, database, principal, mandate, as_.reason)
                effect = judged.decision.effect
                # ANALYZE of what personal data steers is never carried out, so that it is no hold either.
                if isinstance(request, Explain) and (
                    effect is Effect.ALLOW or (effect is Effect.HOLD and request.analyze)
                ):
                    plan_form(analysis, judged.decision.limits, analyze=request.analyze)
        except Refused as refused:
            return Assessment.refused(refused)
        return Assessment(
            judged.decision, judged.facts, plan=isinstance(request, Explain), parameters=0 if params else count
        )

    async def aclose(self) -> None:
        """Give back connections and the embedded server."""
        await self._resources.aclose()

    def _only_purpose(self, database: str, role: str) -> str:
        purposes: set[str] = set()
        for policy in self._policies.policies:
            if database in policy.databases and role in policy.roles:
                purposes |= policy.purposes or frozenset()
        if len(purposes) == 1:
            return purposes.pop()
        if not purposes:
            raise Refused("HOOP102", "No policy speaks about that role on this database.")
        listed = ", ".join(sorted(purposes))
        raise Refused("HOOP103", "The role has several purposes and none was named.", f"Name one of: {listed}.")


async def open_judge(
    config: Path | None,
    *,
    schema: Path | None = None,
    policies: Path | None = None,
    search_paths: Mapping[str, tuple[str, ...]] | None = None,
) -> LiveJudge:
    """A judge for the databases of the settings, or for *schema* loaded into an embedded server of its own.

    Args:
        config: the settings; not read where a schema is given.
        schema: SQL that makes a database, run as its superuser in a throw-away server.
        policies: the folder whose policies and catalogues judge the schema.
        search_paths: with a schema: by database, as settings have it; ``public`` for those it does not name.

    Raises:
        SettingsError, DatabaseUnavailable: what the names say.
    """
    async with AsyncExitStack() as stack:
        if schema is not None:
            loaded = load_policies(policies or schema.parent)
            if loaded.faults:
                raise SettingsError(tuple(str(fault) for fault in loaded.faults))
            databases = await _embedded(stack, schema, loaded.policies, loaded.catalogues, search_paths or {})
            return LiveJudge(databases, loaded.policies, stack.pop_all())
        settings = load_settings(config)
        decided_by, catalogues = load_governance(settings)
        opened = await stack.enter_async_context(open_databases(settings, catalogues))
        await check_logins(opened, settings.accepted_risks)
        await check_names(settings, opened)
        return LiveJudge(opened, decided_by, stack.pop_all())


async def read_relations(config: Path | None, database: str) -> Sequence[RelationColumns]:
    """Every relation of one database of the settings, for grants: any login may look, and the clean one is not asked."""
    settings = load_settings(config)
    _, catalogues = load_governance(settings)
    if settings.database(database) is None:
        raise SettingsError((f"there is no database {database} in the settings",))
    async with open_databases(settings, catalogues, only=database, full_alone=True) as opened:
        return await relation_columns(opened[database])


async def install_logins(
    admin_dsn: str, name: str, catalogue: Catalogue, policies: PolicySet, *, clean: str, full: str
) -> None:
    """Make the two logins of a database and give them what policy owes, as its administrator.

    Args:
        admin_dsn: an address with the right to do so.
        name: the database's name in settings and policies.
        catalogue: what its columns hold.
        policies: what may be used of them.
        clean: the name of the clean login.
        full: the name of the full login.
    """
    as_admin = await PostgresDatabase.open(
        name, dict.fromkeys(Login, admin_dsn), search_path=("public",), catalogue=catalogue
    )
    try:
        sql = grants(catalogue, policies, await relation_columns(as_admin), database=name, clean=clean, full=full)
    finally:
        await as_admin.close()
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close(timeout=5)


async def _embedded(
    stack: AsyncExitStack,
    schema: Path,
    policies: PolicySet,
    catalogues: Mapping[str, Catalogue],
    search_paths: Mapping[str, tuple[str, ...]],
) -> Mapping[str, PostgresDatabase]:
    """A throw-away server with *schema* in one database for each catalogue that policies speak about."""
    text = await asyncio.to_thread(schema.read_text, "utf-8")
    server = EmbeddedPostgres()
    try:
        await asyncio.to_thread(server.start)
    except EmbeddedPostgresError as error:
        raise DatabaseUnavailable(str(error)) from None
    stack.push_async_callback(asyncio.to_thread, server.stop)
    opened: dict[str, PostgresDatabase] = {}
    for name, catalogue in catalogues.items():
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f'CREATE DATABASE "{name}"')
        await admin.close(timeout=5)
        owner = await asyncpg.connect(server.dsn(name))
        try:
            await owner.execute(text)
        except asyncpg.PostgresError as error:
            raise SettingsError((f"{schema}: PostgreSQL refuses it (SQLSTATE {error.sqlstate})",)) from None
        finally:
            await owner.close(timeout=5)
        logins = {login: f"trial_{login.value}" for login in Login}
        await install_logins(
            server.dsn(name), name, catalogue, policies, clean=logins[Login.CLEAN], full=logins[Login.FULL]
        )
        dsns = {login: server.dsn(name, logins[login]) for login in Login}
        database = await PostgresDatabase.open(
            name, dsns, search_path=search_paths.get(name, ("public",)), catalogue=catalogue
        )
        stack.push_async_callback(database.close)
        opened[name] = database
    await check_logins(opened, ())
    return opened
