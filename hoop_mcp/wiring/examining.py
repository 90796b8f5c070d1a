"""Looks at a deployment without changing it: what ``doctor`` tells."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.adapters.journal_file import describe_library, journal_mode
from hoop_mcp.adapters.postgres_checks import readable_columns
from hoop_mcp.errors import DatabaseUnavailable, JournalUnavailable, SettingsError
from hoop_mcp.journal.verify import verify
from hoop_mcp.policy.grants import due, identifier
from hoop_mcp.sql.resolved import Login
from hoop_mcp.wiring.governed import open_databases, relation_columns
from hoop_mcp.wiring.journal import open_reader
from hoop_mcp.wiring.policies import load_governance, read_files
from hoop_mcp.wiring.serving import ENGINE
from hoop_mcp.wiring.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hoop_mcp.adapters.postgres import PostgresDatabase
    from hoop_mcp.policy.rules import PolicySet
    from hoop_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: ``state`` is "ok", "warn" or "MEND"; ``mend`` is what to run or do."""

    state: str
    name: str
    says: str
    mend: str = ""


async def examine(config: Path | None) -> AsyncIterator[Check]:
    """Every check that can be made, in the order a start would meet them; a fault ends what depends on it."""
    try:
        settings = load_settings(config)
        policies, catalogues = load_governance(settings)
    except SettingsError as error:
        for fault in error.faults:
            yield Check("MEND", "settings", fault)
        return
    tests = sum(len(file.document.cases) for file in read_files([Path(settings.policies)]).tests.values())
    databases = len(settings.databases)
    yield Check(
        "ok",
        "settings",
        f"{Path(settings.source).name}, {_counted(databases, 'database')}, "
        f"{_counted(len(policies.policies), 'policy', 'policies')}, {_counted(tests, 'test')} written",
    )
    for database in settings.databases:
        try:
            async with open_databases(settings, catalogues, only=database.name) as opened:
                connected = opened[database.name]
                yield Check("ok", f"database {database.name}", f"PostgreSQL {connected.major}")
                async for check in _logins(connected, settings, policies):
                    yield check
        except (DatabaseUnavailable, SettingsError) as error:
            yield Check("MEND", f"database {database.name}", str(error))
    yield _journal(settings)
    yield Check("ok", "masking", ENGINE)
    for check in _files(settings):
        yield check
    yield Check(
        "warn",
        "anchors",
        "none: a chain kept beside its key proves nothing to an outsider who does not trust the operator",
    )


async def _logins(database: PostgresDatabase, settings: Settings, policies: PolicySet) -> AsyncIterator[Check]:
    findings = await database.findings()
    relations = await relation_columns(database)
    owed = {relation.relation: due(database.catalogue, policies, relation, database.name) for relation in relations}
    for login in Login:
        name = f"login {login.value}"
        mine = [finding for finding in findings if finding.login == login.value]
        for finding in mine:
            accepted = finding.risk in settings.accepted_risks
            says = f"{finding.what} ({finding.risk})" + (", accepted in settings" if accepted else "")
            yield Check("warn" if accepted else "MEND", name, says, "" if accepted else finding.mend)
        connection = await database.connect(login)
        try:
            held = await readable_columns(connection)
            role = str(await connection.fetchval("SELECT current_user::text"))
        finally:
            await connection.close(timeout=2)
        drifted = False
        for relation, columns in sorted(held.items()):
            due_here = owed.get(relation)
            allowed = () if due_here is None else (due_here.clean if login is Login.CLEAN else due_here.full)
            if extra := [column for column in columns if column not in allowed]:
                drifted = True
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
            drifted = True
            says = f"lacks {_counted(len(missing), 'column')} that policy opens, {missing[0]} among them"
            yield Check("MEND", name, says, f"hoop-mcp policy grants --database {database.name}")
        if not mine and not drifted:
            yield Check("ok", name, "no superuser, owns nothing, cannot create, reads what policy gives it and no more")


def _journal(settings: Settings) -> Check:
    path = Path(settings.journal.path)
    mode = describe_library(journal_mode())
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
