"""What several files must agree on: names given once, categories and purposes the catalogue knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoop_mcp.documents import Path, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hoop_mcp.documents import Fault
    from hoop_mcp.policy.document import PolicyFile, RuleDocument
    from hoop_mcp.sql.catalogue import Catalogue

_CATEGORY_FACTS = ("shows_any", "shows_only", "probes_any", "probes_only", "touches_any", "lookups")


def faults_together(
    files: Sequence[PolicyFile], catalogues: Mapping[str, Catalogue], databases: frozenset[str] | None = None
) -> tuple[Fault, ...]:
    """Faults that no file has alone.

    Args:
        files: every policy that was readable.
        catalogues: by the name of the database they describe; what no catalogue describes is not checked.
        databases: those of the settings, where settings are known.
    """
    found: list[Fault] = [*_given_twice(files)]
    for file in files:
        found.extend(_against_catalogues(file, catalogues))
        found.extend(_against_settings(file, databases))
    return tuple(sorted(found))


def _given_twice(files: Sequence[PolicyFile]) -> Iterator[Fault]:
    policies: dict[str, str] = {}
    rules: dict[str, str] = {}
    for file in sorted(files, key=lambda file: file.locator.file):
        name = file.policy.name
        if name in policies:
            yield file.locator.fault(("policy",), f"a policy '{name}' stands in {policies[name]} already")
        policies.setdefault(name, file.locator.file)
        for index, rule in enumerate(file.document.rules):
            if rule.id in rules:
                what = f"a rule '{rule.id}' stands in {rules[rule.id]} already; the journal names rules by id alone"
                yield file.locator.fault(("rules", index, "id"), what)
        for rule in file.document.rules:
            rules.setdefault(rule.id, file.locator.file)


def _against_settings(file: PolicyFile, databases: frozenset[str] | None) -> Iterator[Fault]:
    """A misspelt database is a fault wherever it stands: a deny that speaks about nothing denies nothing."""
    for index, name in enumerate(file.document.applies_to.databases):
        if databases is not None and name not in databases:
            what = f"the settings have no database '{name}'" + suggest(name, databases)
            yield file.locator.fault(("applies_to", "databases", index), what)


def _against_catalogues(file: PolicyFile, catalogues: Mapping[str, Catalogue]) -> Iterator[Fault]:
    known = [catalogues[name] for name in sorted(file.policy.databases) if name in catalogues]
    if not known:
        return
    purposes = frozenset[str]().union(*(catalogue.purpose_names for catalogue in known))
    for index, purpose in enumerate(file.document.applies_to.purposes or ()):
        if purpose not in purposes:
            what = f"no catalogue declares the purpose '{purpose}'" + suggest(purpose, purposes)
            yield file.locator.fault(("applies_to", "purposes", index), what)
    categories = frozenset[str]().union(*(catalogue.category_names for catalogue in known))
    for index, rule in enumerate(file.document.rules):
        for path, category in _categories(rule, ("rules", index)):
            if category not in categories:
                what = f"no catalogue declares the category '{category}'" + suggest(category, categories)
                yield file.locator.fault(path, what, at_key="mask" in path)
        for place, table in enumerate(rule.when.only_tables or ()):
            if all(catalogue.restricted(table) for catalogue in known):
                what = f"{table} is restricted in the catalogue; no rule opens it"
                yield file.locator.fault(("rules", index, "when", "only_tables", place), what)


def _categories(rule: RuleDocument, path: Path) -> Iterator[tuple[Path, str]]:
    for fact in _CATEGORY_FACTS:
        for place, category in enumerate(getattr(rule.when, fact) or ()):
            yield (*path, "when", fact, place), category
    for category in rule.mask:
        yield (*path, "mask", category), category
