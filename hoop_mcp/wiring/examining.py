"""Looks at a deployment without changing it: what ``doctor`` tells."""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from hoop_mcp.adapters.journal_file import describe_library, journal_mode
from hoop_mcp.adapters.postgres_checks import OTHER_LOGIN, PAIR, readable_columns, worth_telling
from hoop_mcp.errors import DatabaseUnavailable, JournalUnavailable, SettingsError
from hoop_mcp.journal.verify import verify
from hoop_mcp.policy.grants import due, identifier
from hoop_mcp.sql.resolved import Login
from hoop_mcp.wiring.governed import open_databases, relation_columns
from hoop_mcp.wiring.journal import open_reader
from hoop_mcp.wiring.naming import somebody_may_act, unknown_identity, unknown_names
from hoop_mcp.wiring.policies import load_governance, read_governance
from hoop_mcp.wiring.serving import ENGINE
from hoop_mcp.wiring.settings import config_path, load_settings
from hoop_mcp.wiring.vouches import broken_vouches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from hoop_mcp.adapters.postgres import PostgresDatabase
    from hoop_mcp.policy.grants import Due
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.settings import Settings
    from hoop_mcp.wiring.naming import Names


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: ``state`` is "ok", "warn" or "MEND"; ``mend`` is what to run or do."""

    state: str
    name: str
    says: str
    mend: str = ""


async def examine(config: Path | None) -> AsyncIterator[Check]:
    """Every check that can be made, in the order a start would meet them; a fault ends what depends on it.

    Raises:
        SettingsError: there is no settings file, so that there is nothing to look at.
    """
    if not (path := config_path(config)).is_file():
        load_settings(path)  # says what is missing
    try:
        settings = load_settings(config)
        policies, catalogues = load_governance(settings)
    except SettingsError as error:
        for fault in error.faults:
            yield Check("MEND", "settings", fault)
        return
    reading = read_governance(settings)
    tests = sum(len(file.document.cases) for file in reading.tests.values())
    yield Check(
        "ok",
        "settings",
        f"{Path(settings.source).name}, {_counted(len(settings.databases), 'database')}, "
        f"{_counted(len(policies.policies), 'policy', 'policies')}, {_counted(tests, 'test')} written",
    )
    state = "warn" if somebody_may_act(settings, policies) else "MEND"
    for unknown in unknown_identity(settings, policies):
        yield Check(state, "identity", str(unknown))
    async with AsyncExitStack() as stack:
        opened: dict[str, PostgresDatabase] = {}
        names: dict[str, Names] = {}
        for database in settings.databases:
            title = f"database {database.name}"
            try:
                connected = await stack.enter_async_context(open_databases(settings, catalogues, only=database.name))
                names[database.name] = await connected[database.name].names()
                opened |= connected
            except (DatabaseUnavailable, SettingsError) as error:
                for said in str(error).splitlines():
                    yield Check("MEND", title, said.removeprefix(f"{title}: "))
        unknown_here = unknown_names(settings, reading, names)
        for name, connected_database in opened.items():
            yield Check("ok", f"database {name}", f"PostgreSQL {connected_database.major}")
            for each in unknown_here[name]:
                yield Check("MEND", f"database {name}", str(each.fault))
            async for check in _vouches(connected_database):
                yield check
            try:
                async for check in _logins(connected_database, settings, policies, misnamed=bool(unknown_here[name])):
                    yield check
            except DatabaseUnavailable as error:
                yield Check("MEND", f"database {name}", str(error).removeprefix(f"database {name}: "))
    yield _journal(settings)
    yield Check("ok", "masking", ENGINE)
    for check in _files(settings):
        yield check
    yield Check(
        "warn",
        "anchors",
        "none: a chain kept beside its key proves nothing to an outsider who does not trust the operator",
    )


async def _logins(
    database: PostgresDatabase, settings: Settings, policies: PolicySet, *, misnamed: bool
) -> AsyncIterator[Check]:
    """What is wrong with each login, and where its privileges are not what policy gives it.

    A superuser, an owner, two logins in each other's place: compared with policy, their privileges would say nothing
    but that again, in SQL that takes an administrator's rights away. A misspelt name makes them look wrong as well.
    """
    findings = await database.findings()
    told = worth_telling(findings, settings.accepted_risks)
    pair = any(finding.risk in PAIR for finding in findings)
    relations = await relation_columns(database)
    owed = {relation.relation: due(database.catalogue, policies, relation, database.name) for relation in relations}
    for login in Login:
        name = f"login {login.value}"
        mine = [finding for finding in told if finding.login == login.value]
        for finding in mine:
            accepted = finding.risk in settings.accepted_risks
            says = f"{finding.what} ({finding.risk})" + (", accepted in settings" if accepted else "")
            yield Check("warn" if accepted else "MEND", name, says, "" if accepted else finding.mend)
        if pair or any(each.login == login.value and each.risk in OTHER_LOGIN for each in findings):
            continue
        if misnamed:
            yield Check("warn", name, "its privileges are not compared with policy until the names above are mended")
            continue
        drift = [check async for check in _drift(database, login, owed)]
        for check in drift:
            yield check
        if not mine and not drift:
            yield Check("ok", name, "no superuser, owns nothing, cannot create, reads what policy gives it and no more")


async def _drift(database: PostgresDatabase, login: Login, owed: Mapping[str, Due]) -> AsyncIterator[Check]:
    """Where what the login may read is more or less than policy gives it."""
    name = f"login {login.value}"
    connection = await database.connect(login)
    try:
        held = await readable_columns(connection)
        role = str(await connection.fetchval("SELECT current_user::text"))
        spills = await connection.fetchval("SELECT current_setting('temp_file_limit')") == "-1"
    finally:
        await connection.close(timeout=2)
    if spills:  # a hint and no risk word: the operator may have set a quota on the disk instead
        yield Check(
            "warn",
            name,
            "may write temporary files without end: one statement can fill the server's disk",
            f"ALTER ROLE {identifier(role)} SET temp_file_limit = '1GB'; -- as a superuser",
        )
    for relation, columns in sorted(held.items()):
        due_here = owed.get(relation)
        allowed = () if due_here is None else (due_here.clean if login is Login.CLEAN else due_here.full)
        if extra := [column for column in columns if column not in allowed]:
            schema, _, table = relation.partition(".")
            listed = ", ".join(map(identifier, extra))
            yield Check(
                "MEND",
                name,
                f"may read {relation}({', '.join(extra)}), which no policy gives it",
                f"REVOKE SELECT ({listed}) ON {identifier(schema)}.{identifier(table)} FROM {identifier(role)};",
            )
    missing = sorted(
        f"{relation}.{column}"
        for relation, due_here in owed.items()
        for column in (due_here.clean if login is Login.CLEAN else due_here.full)
        if column not in held.get(relation, ())
    )
    if missing:
        says = f"lacks {_counted(len(missing), 'column')} that policy opens, {missing[0]} among them"
        yield Check("MEND", name, says, f"hoop-mcp policy grants --database {database.name}")


async def _vouches(database: PostgresDatabase) -> AsyncIterator[Check]:
    catalogue = database.catalogue
    number = len(catalogue.functions) + len(catalogue.extensions)
    if not number:
        return
    name = f"database {database.name}"
    try:
        broken = await broken_vouches(database)
    except (asyncpg.PostgresError, OSError) as error:
        yield Check("MEND", name, f"functions and extensions cannot be read ({type(error).__name__})")
        return
    for each in broken:
        yield Check("MEND", name, f"{each.what} {each.says}", each.mend)
    if not broken:
        yield Check(
            "ok", name, f"{_counted(number, 'function or extension', 'functions and extensions')} as vouched for"
        )


def _journal(settings: Settings) -> Check:
    path = Path(settings.journal.path)
    mode = describe_library(journal_mode())
    folder, keys = path.parent, Path(settings.journal.keys)
    for what, place in (("journal", folder), ("keys", keys.parent)):
        if not place.is_dir():
            return Check(
                "MEND",
                "journal",
                f"the folder {place} of the {what} does not exist",
                f"mkdir -p {shlex.quote(str(place))}",
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check("MEND", "journal", f"this account cannot write in {folder}", "run as the account that serves")
    if not path.exists():
        return Check("ok", "journal", f"will be made at the first start ({mode})")
    try:
        with open_reader(path) as reader:
            verdict = verify(reader.rows(), damage=reader.damage())
    except JournalUnavailable as error:
        return Check("MEND", "journal", str(error))
    if not verdict.ok:
        return Check("MEND", "journal", f"entry {verdict.bad_seq}: {verdict.why}", "hoop-mcp journal verify")
    return Check("ok", "journal", f"{verdict.size} entries intact ({mode})")


def _files(settings: Settings) -> list[Check]:
    """Who may write what decides, and read what opens: files an agent's account could reach are no boundary."""
    checks = []
    for name, path in (("policies", settings.policies), ("settings", settings.source), ("keys", settings.journal.keys)):
        place = Path(path)
        if not place.exists():
            continue
        loose = [
            each
            for each in (place, *(place.rglob("*") if place.is_dir() else ()))
            if stat.S_IMODE(each.stat().st_mode) & (0o077 if name == "keys" else 0o022)
        ]
        if loose:
            verb = "read" if name == "keys" else "changed"
            checks.append(
                Check(
                    "MEND",
                    f"{name} files",
                    f"{loose[0]} may be {verb} by other accounts",
                    f"chmod -R {'go-rwx' if name == 'keys' else 'go-w'} {place}",
                )
            )
    if not checks:
        owner = "root" if os.getuid() == 0 else "this account"
        checks.append(Check("ok", "files", f"policies, settings and keys can be changed by {owner} alone"))
    return checks


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
