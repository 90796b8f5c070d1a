"""``policies/NAME.test.yaml``: what the owner of a policy expects of it, as data."""

import json
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, StringConstraints

from hoop_mcp.documents import Count, Document, Fault, Locator, Slug, Text, suggest, validate, wrong
from hoop_mcp.terms import JsonValue


def _param(value: Any) -> JsonValue:
    """A JSON scalar where the text is one (``7``, ``true``, ``null``, ``"7"``), else the text itself."""
    if not isinstance(value, str):
        raise wrong("one value is expected here; write lists and objects as JSON in quotes")
    try:
        read: JsonValue = json.loads(value)
    except ValueError:
        return value
    return read


FileName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Param = Annotated[Any, BeforeValidator(_param)]
Masked = Literal["none", "keep", "partial", "generalise", "pseudonym", "redact", "nullify"]


class AsDocument(Document):
    """Who asks, for what, where, and with which words."""

    role: Slug
    purpose: Slug
    database: Slug
    reason: Text | None = None


class ExpectDocument(Document):
    """What the decision must be; only the keys given are compared."""

    effect: Literal["allow", "hold", "deny"] | None = None
    by: tuple[Slug, ...] | None = None
    mask: dict[str, Masked] | None = None
    max_rows: Count | None = None
    code: Annotated[str, StringConstraints(pattern=r"^HOOP[0-9]{3}$")] | None = None
    reviewers: tuple[Slug, ...] | None = None


class CaseDocument(Document):
    """One statement and what is expected of it."""

    it: Text
    sql: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    params: tuple[Param, ...] = ()
    expect: ExpectDocument


class TestsDocument(Document):
    """One test file: against a schema in an embedded PostgreSQL, or against the live database of the settings."""

    __test__ = False  # pytest collects classes by this name

    tests: Slug
    schema_file: Annotated[FileName | None, Field(alias="schema")] = None
    database: Slug | None = None
    as_: Annotated[AsDocument, Field(alias="as")]
    cases: Annotated[tuple[CaseDocument, ...], Field(min_length=1)]


class CaseFile(NamedTuple):
    """A readable test file and the places of its parts."""

    document: TestsDocument
    locator: Locator


def read_tests(text: str, file: str) -> tuple[CaseFile | None, tuple[Fault, ...]]:
    """One test file, or all that is wrong with it alone."""
    read = validate(text, file, TestsDocument)
    if read.value is None:
        return None, read.faults
    document, faults = read.value, []
    if (document.schema_file is None) == (document.database is None):
        what = "give either schema (a file, loaded into an embedded PostgreSQL) or database (the live one)"
        faults.append(read.locator.fault((), what))
    for index, case in enumerate(document.cases):
        expect = case.expect
        if expect == ExpectDocument():
            what = "nothing is expected, so that this case could never fail"
            faults.append(read.locator.fault(("cases", index, "expect"), what))
    return (None, tuple(faults)) if faults else (CaseFile(document, read.locator), ())


def unknown_rules(tests: CaseFile, rule_ids: frozenset[str]) -> tuple[Fault, ...]:
    """Faults for the rules a test names that no policy has."""
    return tuple(
        tests.locator.fault(
            ("cases", index, "expect", "by", place), f"no policy has a rule '{rule}'" + suggest(rule, rule_ids)
        )
        for index, case in enumerate(tests.document.cases)
        for place, rule in enumerate(case.expect.by or ())
        if rule not in rule_ids
    )
