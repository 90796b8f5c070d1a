"""What each column holds, said once by the owner of the data: ``policies/NAME.catalogue.yaml``.

A column that is not named is ``unclassified``: redacted by default, never readable by the clean login, and open to no
probe unless a rule says so. That errs on the side of an agent that sees too little, which somebody notices.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from hoop_mcp.documents import (
    NOT_ENFORCED,
    Document,
    Duration,
    Fault,
    Flag,
    Locator,
    Slug,
    Text,
    quote,
    suggest,
    validate,
    wrong,
)
from hoop_mcp.sql.signatures import PART, FunctionName, function_schema
from hoop_mcp.terms import ColumnRef

NONE: Final = "none"
"""The category of a column somebody reviewed and found not personal."""

UNCLASSIFIED: Final = "unclassified"
"""The category of a column nobody has named."""

RESERVED: Final = frozenset({NONE, UNCLASSIFIED})

_PARTS = re.compile(PART)


def split_name(text: str, parts: int) -> tuple[str, ...] | None:
    """A dotted name in SQL's spelling, ``app."Customers".id``, as PostgreSQL stores its parts; None if it is not one.

    An unquoted capital is refused rather than folded: whether the writer meant PostgreSQL's folding or the stored name
    cannot be known, and a name that silently matches nothing would leave a restricted table open.
    """
    if not re.fullmatch(rf"{PART}(?:\.{PART}){{{parts - 1}}}", text):
        return None
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in _PARTS.findall(text))


def _table_name(value: Any) -> str:
    split = split_name(value, 2) if isinstance(value, str) else None
    if split is None:
        shown = f"{quote(value)} is not a table: " if isinstance(value, str) else ""
        raise wrong(f'{shown}write schema.table, in lower case or with capitals in quotes (app."Customers")')
    if any("." in part for part in split):
        raise wrong("a schema or table with a dot in its name cannot be listed: it could be taken for another")
    return ".".join(split)


def _column_name(value: Any) -> str:
    if isinstance(value, str) and split_name(value, 3):
        return value
    shown = f"{quote(value)} is not a column: " if isinstance(value, str) else ""
    raise wrong(f'{shown}write schema.table.column, in lower case or with capitals in quotes (app."Customers".id)')


TableName = Annotated[str, BeforeValidator(_table_name), WithJsonSchema({"type": "string"})]
"""``schema.table``, without quotes once read: the form of :attr:`ColumnRef.relation`."""

ColumnName = Annotated[str, BeforeValidator(_column_name), WithJsonSchema({"type": "string"})]
"""``schema.table.column``, in SQL's spelling."""


class ControllerDocument(Document):
    """The controller of the processing, GDPR Art. 30(1)(a)."""

    name: Text
    contact: Text
    dpo: Text | None = None


class PurposeDocument(Document):
    """A purpose of processing, GDPR Art. 5(1)(b) and 30(1)(b), (d), (e), (f)."""

    legal_basis: Text
    recipients: Annotated[tuple[Text, ...], Field(min_length=1)]
    retention: Duration
    transfers: Text


class CategoryDocument(Document):
    """A category of personal data, GDPR Art. 30(1)(c); ``special`` marks Art. 9."""

    data_subjects: Annotated[tuple[Slug, ...], Field(min_length=1)]
    special: Flag = False


class ColumnDocument(Document):
    """What one column holds; the word ``none`` alone says that it was reviewed and is not personal."""

    category: Slug | None = None
    entity: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,62}$")] | None = None
    lookup: Flag = False
    person: Slug | None = None


def _column(value: Any) -> Any:
    if value == NONE:
        return {}
    if value == {}:
        raise wrong("say what the column holds: a category, a person, or the word none")
    if not isinstance(value, dict):
        raise wrong("a column holds {category: …}, {person: …} or the word none")
    return value


ColumnEntry = Annotated[
    ColumnDocument,
    BeforeValidator(_column, json_schema_input_type=Literal["none"] | ColumnDocument),
]


def _sha256(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value
    raise wrong("a SHA-256 is expected here: 64 digits of 0-9 and a-f, as hoop-mcp doctor prints it")


class FunctionDocument(Document):
    """A function that somebody read and vouches for; ``returns`` is what its result holds beside its arguments."""

    vouched_by: Text
    sha256: Annotated[str, BeforeValidator(_sha256), WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"})]
    returns: Annotated[tuple[Slug, ...], Field(min_length=1)]


ExtensionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$")]
ExtensionVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$")]


class CatalogueDocument(Document):
    """One catalogue file."""

    catalogue: Slug
    controller: ControllerDocument | None = None
    purposes: dict[Slug, PurposeDocument] = Field(default_factory=dict)
    categories: dict[Slug, CategoryDocument] = Field(default_factory=dict)
    columns: dict[ColumnName, ColumnEntry] = Field(default_factory=dict)
    tables: dict[TableName, Literal["restricted", "foreign"]] = Field(default_factory=dict)
    functions: dict[FunctionName, FunctionDocument] = Field(default_factory=dict)
    extensions: dict[ExtensionName, ExtensionVersion] = Field(default_factory=dict)
    recognizers: Annotated[list[Any] | None, NOT_ENFORCED] = None
    session: Annotated[dict[str, Any] | None, NOT_ENFORCED] = None


class Classification(NamedTuple):
    """What a column holds. ``person`` names whom it identifies, for counting people; it is no category."""

    category: str
    entity: str | None = None
    lookup: bool = False
    person: str | None = None

    @property
    def personal(self) -> bool:
        """Whether masks, probes and grants treat it as personal; unclassified counts as personal."""
        return self.category != NONE


@dataclass(frozen=True, slots=True)
class VouchedFunction:
    """A function vouched for: hex SHA-256 of what it is, and the columns its result stands for, one a category."""

    sha256: str
    vouched_by: str
    results: frozenset[ColumnRef]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What Article 30 wants to know of a purpose; ``retention_ms`` in milliseconds."""

    name: str
    legal_basis: str
    recipients: tuple[str, ...]
    retention_ms: int
    transfers: str


@dataclass(frozen=True, slots=True)
class Category:
    """A category with the groups of people it is about; ``special`` is GDPR Art. 9."""

    name: str
    data_subjects: tuple[str, ...]
    special: bool = False


@dataclass(frozen=True, slots=True)
class Controller:
    """GDPR Art. 30(1)(a)."""

    name: str
    contact: str
    dpo: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """One database's catalogue. ``digest`` (hex SHA-256) is over its meaning: order and layout do not change it."""

    name: str
    columns: Mapping[ColumnRef, Classification] = field(repr=False)
    categories: tuple[Category, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    restricted_relations: frozenset[str] = frozenset()
    foreign_relations: frozenset[str] = frozenset()
    controller: Controller | None = None
    functions: Mapping[str, VouchedFunction] = field(default_factory=dict, repr=False)
    extensions: Mapping[str, str] = field(default_factory=dict, repr=False)

    def classify(self, ref: ColumnRef) -> Classification:
        """What a column holds; :data:`UNCLASSIFIED` when nobody said.

        The result of a vouched function is written as a column: ``app.risk(bigint).health``.
        """
        held = self.columns.get(ref)
        if held is None and ref.table.endswith(")"):
            made = any(ref in function.results for function in self.functions.values())
            return Classification(ref.column if made else UNCLASSIFIED)
        return held or Classification(UNCLASSIFIED)

    def names(self, ref: ColumnRef) -> bool:
        """Whether somebody has said what the column holds."""
        return ref in self.columns

    def restricted(self, relation: str) -> bool:
        """Whether a ``schema.table`` is out of bounds for every policy."""
        return relation in self.restricted_relations

    def vouches_for_foreign(self, relation: str) -> bool:
        """Whether the owner answers for the server that the rows of a foreign table come from."""
        return relation in self.foreign_relations

    @property
    def category_names(self) -> frozenset[str]:
        """Every category a rule may name, :data:`UNCLASSIFIED` among them."""
        return frozenset(category.name for category in self.categories) | {UNCLASSIFIED}

    @property
    def purpose_names(self) -> frozenset[str]:
        """Every purpose the catalogue declares."""
        return frozenset(purpose.name for purpose in self.purposes)

    @property
    def digest(self) -> str:
        """Names the meaning of the catalogue in journal and register."""
        meaning = {
            "name": self.name,
            "controller": None
            if self.controller is None
            else [self.controller.name, self.controller.contact, self.controller.dpo],
            "categories": sorted([c.name, sorted(c.data_subjects), c.special] for c in self.categories),
            "purposes": sorted(
                [p.name, p.legal_basis, sorted(p.recipients), p.retention_ms, p.transfers] for p in self.purposes
            ),
            "columns": sorted([list(ref), list(held)] for ref, held in self.columns.items()),
            "restricted": sorted(self.restricted_relations),
            "foreign": sorted(self.foreign_relations),
            "functions": sorted(
                [name, each.sha256, each.vouched_by, sorted(map(list, each.results))]
                for name, each in self.functions.items()
            ),
            "extensions": sorted(self.extensions.items()),
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_catalogue(text: str, file: str) -> tuple[Catalogue | None, tuple[Fault, ...]]:
    """One catalogue file, or all that is wrong with it."""
    read = validate(text, file, CatalogueDocument)
    if read.value is None:
        return None, read.faults
    faults = tuple(sorted(_meaning_faults(read.value, read.locator)))
    return (None, faults) if faults else (_catalogue(read.value), ())


def _meaning_faults(document: CatalogueDocument, locator: Locator) -> list[Fault]:
    faults = [
        locator.fault(("categories", name), f"'{name}' is a word of the language", at_key=True)
        for name in document.categories
        if name in RESERVED
    ]
    seen: dict[tuple[str, ...], str] = {}
    for spelled, column in document.columns.items():
        path = ("columns", spelled)
        ref = split_name(spelled, 3) or ()
        if ref in seen:
            faults.append(locator.fault(path, "the column is named twice, with and without quotes", at_key=True))
        seen[ref] = spelled
        if column.category is not None and column.category not in document.categories:
            what = f"the category '{column.category}' is not declared" + suggest(column.category, document.categories)
            faults.append(locator.fault((*path, "category"), what))
        if column.category is None and column.entity is not None:
            faults.append(locator.fault((*path, "entity"), "an entity needs a category beside it"))
        if column.category is None and column.lookup:
            faults.append(locator.fault((*path, "lookup"), "a lookup needs a category beside it"))
    for signature, function in document.functions.items():
        faults += _function_faults(signature, function, document, locator)
    return faults


def _function_faults(
    signature: str, function: FunctionDocument, document: CatalogueDocument, locator: Locator
) -> list[Fault]:
    path = ("functions", signature, "returns")
    faults = [
        locator.fault((*path, place), f"the category '{name}' is not declared{suggest(name, document.categories)}")
        for place, name in enumerate(function.returns)
        if name != NONE and name not in document.categories
    ]
    if NONE in function.returns and len(function.returns) > 1:
        faults.append(locator.fault(path, "a result is not personal, or it holds categories: not both"))
    return faults


def _catalogue(document: CatalogueDocument) -> Catalogue:
    columns = {}
    for spelled, column in document.columns.items():
        schema, table, name = split_name(spelled, 3) or ("", "", "")
        columns[ColumnRef(schema, table, name)] = Classification(
            column.category or NONE, column.entity, column.lookup, column.person
        )
    controller = document.controller
    return Catalogue(
        name=document.catalogue,
        columns=MappingProxyType(columns),
        categories=tuple(
            Category(name, category.data_subjects, category.special)
            for name, category in sorted(document.categories.items())
        ),
        purposes=tuple(
            Purpose(name, purpose.legal_basis, purpose.recipients, purpose.retention, purpose.transfers)
            for name, purpose in sorted(document.purposes.items())
        ),
        restricted_relations=frozenset(name for name, said in document.tables.items() if said == "restricted"),
        foreign_relations=frozenset(name for name, said in document.tables.items() if said == "foreign"),
        controller=None if controller is None else Controller(controller.name, controller.contact, controller.dpo),
        functions=MappingProxyType(
            {signature: _vouched(signature, function) for signature, function in document.functions.items()}
        ),
        extensions=MappingProxyType(dict(document.extensions)),
    )


def _vouched(signature: str, function: FunctionDocument) -> VouchedFunction:
    schema, rest = function_schema(signature)
    results = frozenset(ColumnRef(schema, rest, category) for category in function.returns if category != NONE)
    return VouchedFunction(function.sha256, function.vouched_by, results)
