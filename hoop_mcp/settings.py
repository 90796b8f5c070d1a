"""``hoop.yaml`` as one typed object, read once.

Text and the folder it lies in go in, :class:`Settings` comes out, with every path absolute; nothing is opened here.
An address of a database is always a reference (``${env:NAME}``, ``${file:PATH}``, ``embedded:PATH``), never the address
itself: a settings file is copied, committed and pasted into tickets, so that even an address without a password is
refused rather than judged.
"""

import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from hoop_mcp.documents import NOT_BUILT, Count, Document, Fault, Locator, Slug, validate, wrong


class Provider(StrEnum):
    """Where the address of a database comes from."""

    ENV = "env"
    FILE = "file"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where to find an address, never the address: safe to print.

    ``name`` is an environment variable's name, the absolute path of a file whose content is the address, or the
    absolute path of the folder of an embedded PostgreSQL.
    """

    provider: Provider
    name: str

    def __str__(self) -> str:
        return f"embedded:{self.name}" if self.provider is Provider.EMBEDDED else f"${{{self.provider}:{self.name}}}"


Risk = Literal[
    "superuser",
    "owns-governed-tables",
    "bypasses-row-security",
    "creates-objects",
    "creates-temporary-tables",
    "trees-in-server-log",
    "unencrypted-connection",
]
RISKS: Final[tuple[str, ...]] = get_args(Risk)
"""What a login may be excused for under ``accepted_risks``; each one is journaled at every start."""


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """One governed database: two logins, a pinned search path, a catalogue (absolute path).

    ``clean_dsn`` is None only for an embedded server, whose two logins lie in its own folder.
    """

    name: str
    dsn: Reference
    clean_dsn: Reference | None
    search_path: tuple[str, ...]
    catalogue: str


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """What the operating system's account may act as on stdio."""

    roles: tuple[str, ...]
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Absolute paths of the journal's file and of the folder of its keys."""

    path: str
    keys: str


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What one principal may use, whatever policy says: three counts in any hour, two of calls at one moment.

    The defaults leave room for a day of honest work, with mistakes, and little for guessing: an agent that writes SQL
    gets a name wrong a few times an hour and an error out of running data less often than that.
    """

    lookups: int = 500
    parse_errors: int = 200
    failures: int = 50
    running: int = 4
    waiting: int = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything ``hoop.yaml`` says; ``source`` is its absolute path, ``policies`` that of the policies' folder."""

    source: str
    databases: tuple[DatabaseSettings, ...]
    policies: str
    local: LocalIdentity
    journal: JournalSettings
    accepted_risks: tuple[str, ...] = ()
    limits: LimitSettings = LimitSettings()

    def database(self, name: str) -> DatabaseSettings | None:
        """The settings of one database, None where there is none of that name."""
        return next((database for database in self.databases if database.name == name), None)


_REFERENCE: Final = re.compile(r"\$\{(?P<provider>[a-z]+):(?P<name>[^{}\s][^{}]*)\}")
_HINT: Final = "name where the address is kept: ${env:NAME}, ${file:PATH} or embedded:PATH"


def _no_reference(value: str) -> str:
    """What is wrong, without repeating a word of what was written: it may be a password."""
    if "://" in value or "=" in value or "@" in value:
        return "an address may not stand in this file, where its password would be copied along; " + _HINT
    return _HINT


def _reference(value: Any) -> Reference:
    if not isinstance(value, str):
        raise wrong(_HINT)
    if value.startswith("embedded:") and len(value) > len("embedded:"):
        return Reference(Provider.EMBEDDED, _path(value.removeprefix("embedded:")))
    match = _REFERENCE.fullmatch(value)
    if match is None:
        raise wrong(_no_reference(value))
    provider, name = match["provider"], match["name"]
    if provider in {"vault", "aws"}:
        raise wrong(f"references to {provider} are not built yet; use ${{env:NAME}} or ${{file:PATH}}")
    if provider == Provider.ENV:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise wrong("the name of an environment variable is expected after ${env:")
        return Reference(Provider.ENV, name)
    if provider == Provider.FILE:
        return Reference(Provider.FILE, _path(name))
    raise wrong(_HINT)


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise wrong("a path is expected here")
    if value.startswith("~"):
        raise wrong("write the path in full: ~ means another folder for every account")
    return value


DsnReference = Annotated[
    Reference,
    BeforeValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": r"^(\$\{(env|file):[^{}]+\}|embedded:.+)$"}),
]
FilePath = Annotated[str, BeforeValidator(_path)]
SchemaName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]{0,62}$")]


class DatabaseDocument(Document):
    """One database."""

    dsn: DsnReference
    clean_dsn: DsnReference | None = None
    search_path: Annotated[tuple[SchemaName, ...], Field(min_length=1)] = ("public",)
    catalogue: FilePath


class LocalDocument(Document):
    """The account that starts the server, on stdio."""

    roles: Annotated[tuple[Slug, ...], Field(min_length=1)]
    purposes: Annotated[tuple[Slug, ...], Field(min_length=1)]


class IdentityDocument(Document):
    """Who may call."""

    local: LocalDocument
    oidc: Annotated[Any, NOT_BUILT] = None
    tokens: Annotated[Any, NOT_BUILT] = None


class JournalDocument(Document):
    """Where the record is kept."""

    path: FilePath = "journal.db"
    keys: FilePath = "keys"
    postgres: Annotated[Any, NOT_BUILT] = None
    anchors: Annotated[Any, NOT_BUILT] = None
    retention: Annotated[Any, NOT_BUILT] = None


MOST_RUNNING: Final = 6
"""As many statements run at once on one login of a database."""

MOST_WAITING: Final = 1_000


class LimitsDocument(Document):
    """What one principal may use at once, and in any hour."""

    lookups: Count | None = None
    parse_errors: Count | None = None
    failures: Count | None = None
    running: Count | None = None
    waiting: Count | None = None


class SettingsDocument(Document):
    """``hoop.yaml``."""

    databases: Annotated[dict[Slug, DatabaseDocument], Field(min_length=1)]
    policies: FilePath
    identity: IdentityDocument
    journal: JournalDocument
    accepted_risks: tuple[Risk, ...] = ()
    approvals: Annotated[Any, NOT_BUILT] = None
    limits: LimitsDocument = LimitsDocument()


def read_settings(text: str, file: str, folder: str) -> tuple[Settings | None, tuple[Fault, ...]]:
    """Settings from the text of ``hoop.yaml``, or all that is wrong with it.

    Args:
        text: the file's content.
        file: its name as faults should print it.
        folder: the absolute folder it lies in; relative paths start there.
    """
    read = validate(text, file, SettingsDocument)
    if read.value is None:
        return None, read.faults
    faults = tuple(sorted(_meaning_faults(read.value, read.locator)))
    return (None, faults) if faults else (_settings(read.value, file, folder), ())


def _meaning_faults(document: SettingsDocument, locator: Locator) -> list[Fault]:
    faults = []
    for name, database in document.databases.items():
        path = ("databases", name)
        if database.clean_dsn is None:
            if database.dsn.provider is not Provider.EMBEDDED:
                faults.append(locator.fault(path, "clean_dsn: this key is missing; the clean login is the second wall"))
        elif database.clean_dsn == database.dsn and database.dsn.provider is not Provider.EMBEDDED:
            what = "names the same address as dsn: two logins are needed, one that cannot read personal columns"
            faults.append(locator.fault((*path, "clean_dsn"), what))
    for key, most, why in (
        ("running", MOST_RUNNING, "so many statements run at once on one login, whoever asks"),
        ("waiting", MOST_WAITING, "a call that waits behind more will not be answered in time"),
    ):
        given = getattr(document.limits, key)
        if given is not None and given > most:
            faults.append(locator.fault(("limits", key), f"must be at most {most}: {why}"))
    return faults


def _settings(document: SettingsDocument, file: str, folder: str) -> Settings:
    def absolute(path: str) -> str:
        return posixpath.normpath(posixpath.join(folder, path))

    def placed(reference: Reference) -> Reference:
        if reference.provider is Provider.ENV:
            return reference
        return Reference(reference.provider, absolute(reference.name))

    return Settings(
        source=posixpath.join(folder, posixpath.basename(file)),
        databases=tuple(
            DatabaseSettings(
                name=name,
                dsn=placed(database.dsn),
                clean_dsn=None if database.clean_dsn is None else placed(database.clean_dsn),
                search_path=database.search_path,
                catalogue=absolute(database.catalogue),
            )
            for name, database in sorted(document.databases.items())
        ),
        policies=absolute(document.policies),
        local=LocalIdentity(
            roles=tuple(sorted(set(document.identity.local.roles))),
            purposes=tuple(sorted(set(document.identity.local.purposes))),
        ),
        journal=JournalSettings(path=absolute(document.journal.path), keys=absolute(document.journal.keys)),
        accepted_risks=tuple(sorted(set(document.accepted_risks))),
        limits=LimitSettings(**document.limits.model_dump(exclude_none=True)),
    )
