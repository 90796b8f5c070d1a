"""References in settings to addresses: an environment variable, a file, or an embedded PostgreSQL on a folder.

An address may hold a password. It is resolved at the last moment, handed to the driver, and never put into a message.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from hoop_mcp.errors import DatabaseUnavailable, SettingsError
from hoop_mcp.settings import Provider
from hoop_mcp.sql.resolved import Login

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from hoop_mcp.settings import DatabaseSettings, Reference


def embedded_login(database: str, login: Login) -> str:
    """The name of a login on an embedded server, whose database has the name it has in settings."""
    return f"{database.replace('-', '_')}_{login.value}"


@asynccontextmanager
async def addresses(database: DatabaseSettings, *, full_alone: bool = False) -> AsyncIterator[Mapping[Login, str]]:
    """The DSN of each login, for as long as the context lasts (an embedded server runs that long).

    Args:
        database: whose.
        full_alone: read ``dsn`` alone and use it for both: for looking at the database before the clean login exists.

    Raises:
        SettingsError: a variable or file is missing or empty; the message names it, never its content.
        DatabaseUnavailable: the embedded server does not start.
    """
    if database.dsn.provider is Provider.EMBEDDED:
        server = EmbeddedPostgres(Path(database.dsn.name))
        try:
            await asyncio.to_thread(server.start)
        except EmbeddedPostgresError as error:
            raise DatabaseUnavailable(f"database {database.name}: {error}") from None
        try:
            yield {login: server.dsn(database.name, embedded_login(database.name, login)) for login in Login}
        finally:
            await asyncio.to_thread(server.stop)
        return
    if full_alone:
        yield dict.fromkeys(Login, _read(database.dsn))
        return
    if database.clean_dsn is None:
        raise SettingsError((f"database {database.name}: clean_dsn is missing",))
    faults: list[str] = []
    found: dict[Login, str] = {}
    for login, reference in ((Login.FULL, database.dsn), (Login.CLEAN, database.clean_dsn)):
        try:
            found[login] = _read(reference)
        except SettingsError as error:
            faults += (f"database {database.name}: the {login.value} login: {fault}" for fault in error.faults)
    if faults:
        raise SettingsError(tuple(faults))
    yield found


def references(database: DatabaseSettings) -> Mapping[Login, str]:
    """Where the address of each login is kept, as messages name it: ``dsn, ${env:SHOP_DSN}``."""
    named = {Login.FULL: f"dsn, {database.dsn}"}
    if database.clean_dsn is not None:
        named[Login.CLEAN] = f"clean_dsn, {database.clean_dsn}"
    return named


def _read(reference: Reference) -> str:
    if reference.provider is Provider.ENV:
        value = os.environ.get(reference.name, "")
        if not value:
            raise SettingsError((f"the environment variable {reference.name} is not set",))
        return value
    try:
        value = Path(reference.name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError((f"the file {reference.name} cannot be read",)) from None
    if not value:
        raise SettingsError((f"the file {reference.name} is empty",))
    return value
