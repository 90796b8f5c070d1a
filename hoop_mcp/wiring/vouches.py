"""Whether what a catalogue vouches for is still what the database has: functions by hash, extensions by version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoop_mcp.adapters.postgres import PostgresDatabase


@dataclass(frozen=True, slots=True)
class Broken:
    """A vouch that no longer holds, so that what it is about is refused; ``mend`` is what to write or do."""

    what: str
    says: str
    mend: str


async def broken_vouches(database: PostgresDatabase) -> tuple[Broken, ...]:
    """Every function and extension in the database's catalogue that is not what was vouched for.

    Raises:
        asyncpg.PostgresError, OSError: the database cannot be asked.
    """
    catalogue = database.catalogue
    found: list[Broken] = []
    if catalogue.functions:
        present = await database.function_hashes()
        for signature, function in sorted(catalogue.functions.items()):
            now = present.get(signature)
            if now is None:
                says = "is vouched for, and there is no such function, or it is an aggregate or in C"
                found.append(Broken(signature, says, "take it out of the catalogue; for C, vouch for its extension"))
            elif now != function.sha256:
                says = f"is not what {function.vouched_by} vouched for, so that it is refused"
                found.append(Broken(signature, says, f"read it again, then sha256: {now}"))
    if catalogue.extensions:
        versions = await database.extension_versions()
        for name, version in sorted(catalogue.extensions.items()):
            if versions.get(name) != version:
                has = f"version {versions[name]} is installed" if name in versions else "it is not installed"
                found.append(
                    Broken(name, f"is vouched for as version {version}, and {has}", "set the version, or take it out")
                )
    return tuple(found)
