"""Reads a folder of policies, catalogues and tests, and tells everything that is wrong with them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hoop_mcp.documents import Fault, decode, load
from hoop_mcp.errors import SettingsError
from hoop_mcp.policy.cases import CaseFile, read_tests, unknown_rules
from hoop_mcp.policy.coherence import faults_together
from hoop_mcp.policy.document import PolicyFile, read_policy
from hoop_mcp.policy.rules import PolicySet
from hoop_mcp.sql.catalogue import Catalogue, read_catalogue
from hoop_mcp.wiring.settings import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hoop_mcp.settings import Settings

SUFFIXES = frozenset({".yaml", ".yml"})


class Loaded(NamedTuple):
    """What a folder holds. Use policies and catalogues only when there are no faults."""

    policies: PolicySet
    catalogues: dict[str, Catalogue]
    faults: tuple[Fault, ...]


@dataclass(slots=True)
class Reading:
    """Everything found in some files, readable or not."""

    policies: list[PolicyFile] = field(default_factory=list)
    catalogues: dict[Path, Catalogue] = field(default_factory=dict)
    tests: dict[Path, CaseFile] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)

    @property
    def rule_ids(self) -> frozenset[str]:
        """The ids of every rule of every policy."""
        return frozenset(rule.id for file in self.policies for rule in file.policy.rules)

    def policy_set(self) -> PolicySet:
        """All policies that were readable."""
        return PolicySet.of(file.policy for file in self.policies)


def files_under(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Every YAML file that is one of the paths or lies under it, sorted, each once.

    Hidden files and folders are passed over, as are settings, which may lie beside their policies.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            found.add(path)
            continue
        for each in path.rglob("*"):
            inner = each.relative_to(path).parts
            if (
                each.suffix in SUFFIXES
                and each.name != DEFAULT_CONFIG
                and each.is_file()
                and not any(part.startswith(".") for part in inner)
            ):
                found.add(each)
    return tuple(sorted(found))


def read_files(paths: Iterable[Path], *, catalogues: Mapping[str, Path] | None = None) -> Reading:
    """Read files as what their first key says they are, and check them together.

    Args:
        paths: files or folders.
        catalogues: which catalogue file describes which database; where None a catalogue describes the database of
            its own name.
    """
    reading = Reading()
    for path in (*files_under(paths), *(catalogues or {}).values()):
        _read(path, reading)
    databases = None if catalogues is None else frozenset(catalogues)
    reading.faults += faults_together(reading.policies, described(reading, catalogues), databases)
    if reading.policies:
        for tests in reading.tests.values():
            reading.faults += unknown_rules(tests, reading.rule_ids)
    reading.faults = sorted(set(reading.faults))
    return reading


def load_policies(folder: Path, *, catalogues: Mapping[str, Path] | None = None) -> Loaded:
    """Every policy and catalogue in a folder.

    Returns:
        The policies, the catalogues by the name of the database they describe (see :func:`read_files`), the faults.
    """
    if not folder.is_dir():
        fault = Fault(str(folder), 1, 1, "there is no such folder of policies")
        return Loaded(PolicySet.of(()), {}, (fault,))
    reading = read_files([folder], catalogues=catalogues)
    faults = list(reading.faults)
    if not reading.policies and not faults:
        faults.append(Fault(str(folder), 1, 1, "no policy lies in this folder, so that nothing would be allowed"))
    return Loaded(reading.policy_set(), described(reading, catalogues), tuple(faults))


def read_governance(settings: Settings) -> Reading:
    """The files the settings name, with the places of what stands in them; whatever their faults."""
    paths = {database.name: Path(database.catalogue) for database in settings.databases}
    return read_files([Path(settings.policies)], catalogues=paths)


def load_governance(settings: Settings) -> tuple[PolicySet, dict[str, Catalogue]]:
    """The policies and catalogues the settings name; catalogues by database.

    Raises:
        SettingsError: with every fault of every file.
    """
    paths = {database.name: Path(database.catalogue) for database in settings.databases}
    loaded = load_policies(Path(settings.policies), catalogues=paths)
    if loaded.faults:
        raise SettingsError(tuple(str(fault) for fault in loaded.faults))
    return loaded.policies, loaded.catalogues


def described(reading: Reading, catalogues: Mapping[str, Path] | None) -> dict[str, Catalogue]:
    """The catalogues by the database they describe, see :func:`read_files`."""
    if catalogues is None:
        return {catalogue.name: catalogue for catalogue in reading.catalogues.values()}
    found = ((database, reading.catalogues.get(_resolved(path))) for database, path in catalogues.items())
    return {database: catalogue for database, catalogue in found if catalogue is not None}


def _resolved(path: Path) -> Path:
    return path.resolve()


def _read(path: Path, reading: Reading) -> None:
    key = _resolved(path)
    shown = str(path)
    if key in reading.seen:
        return
    reading.seen.add(key)
    reading.files.append(shown)
    try:
        raw = path.read_bytes()
    except OSError:
        reading.faults.append(Fault(shown, 1, 1, "the file is missing or cannot be read"))
        return
    text, faults = decode(raw, shown)
    if text is None:
        reading.faults += faults
        return
    plain, unreadable, _ = load(text, shown)
    first = next(iter(plain), None) if isinstance(plain, dict) else None
    if first == "policy":
        policy, faults = read_policy(text, shown)
        if policy is not None:
            reading.policies.append(policy)
    elif first == "catalogue":
        catalogue, faults = read_catalogue(text, shown)
        if catalogue is not None:
            if any(other.name == catalogue.name for other in reading.catalogues.values()):
                faults = (Fault(shown, 1, 1, f"a catalogue '{catalogue.name}' has been read from another file"),)
            reading.catalogues[key] = catalogue
    elif first == "tests":
        tests, faults = read_tests(text, shown)
        if tests is not None:
            reading.tests[path] = tests
    else:
        kinds = "the first key says what a file is: policy, catalogue or tests"
        faults = unreadable or (Fault(shown, 1, 1, kinds if plain is not None else "the file is empty"),)
    reading.faults += faults
