"""What happens to each output column, decided before any row is seen.

Three ways: a traced column goes whole through its operator; any other column that can hold text is read by detection;
a gated column (numbers, times, ids) is only typed. A kept column is both: its own category's entities are final, and
everything else in it is still looked for, as policy's one sentence about traced columns says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.masking.pgtypes import is_gated
from hoop_mcp.terms import ColumnMask, Operator

if TYPE_CHECKING:
    from hoop_mcp.terms import OutputColumn

ENTITIES_OF: dict[str, frozenset[str]] = {
    "identity": frozenset(
        """PERSON NATIONAL_ID FR_NIR US_SSN US_ITIN US_PASSPORT US_DRIVER_LICENSE UK_NINO UK_PASSPORT UK_DRIVING_LICENCE
        ES_NIF ES_NIE ES_PASSPORT IT_FISCAL_CODE IT_DRIVER_LICENSE IT_PASSPORT IT_IDENTITY_CARD PL_PESEL DE_TAX_ID
        DE_TAX_NUMBER DE_SOCIAL_SECURITY DE_ID_CARD DE_PASSPORT DE_FUEHRERSCHEIN FI_PERSONAL_IDENTITY_CODE
        SE_PERSONNUMMER CA_SIN AU_TFN IN_AADHAAR IN_PAN IN_VOTER IN_PASSPORT KR_RRN KR_FRN SG_NRIC_FIN TH_TNIN
        TR_NATIONAL_ID ZA_ID_NUMBER PH_UMID NG_NIN""".split()  # noqa: SIM905 - a list of words reads best as words
    ),
    "contact": frozenset({"EMAIL_ADDRESS", "PHONE_NUMBER"}),
    "payment": frozenset({"CREDIT_CARD", "IBAN_CODE", "US_BANK_NUMBER", "ABA_ROUTING_NUMBER", "CRYPTO"}),
    "location": frozenset({"LOCATION", "ADDRESS", "UK_POSTCODE"}),
    "health": frozenset({"UK_NHS", "US_MBI", "DE_HEALTH_INSURANCE", "AU_MEDICARE", "MEDICAL_LICENSE", "US_NPI"}),
    "online": frozenset({"IP_ADDRESS", "MAC_ADDRESS"}),
}
"""The entities of a category, for "detection leaves exactly those alone".

Direction: a category of the owner's own making has none, so a kept column of it is scanned for everything unless the
catalogue names its entity: over-masking can be mended in the catalogue, a leak cannot be called back.
"""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_ ?]*\Z")
_PLAIN_DIGITS = 4


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """One column: its operator where it is traced, whether detection reads it, and which entities are final in it."""

    name: str
    type_name: str
    mask: ColumnMask | None = None
    scan: bool = False
    final: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """One place per output column, in order."""

    columns: tuple[ColumnPlan, ...]

    @property
    def needs_worker(self) -> bool:
        """False only where typed JSON is all there is to do: every column gated and untraced, every name plain."""
        return any(column.scan or column.mask is not None or not _is_plain(column.name) for column in self.columns)


def _is_plain(name: str) -> bool:
    """Whether a name is words and at most a year: nothing detection could find in it."""
    return _PLAIN_NAME.match(name) is not None and sum(map(str.isdigit, name)) <= _PLAIN_DIGITS


def plan(columns: tuple[OutputColumn, ...], masks: tuple[ColumnMask | None, ...]) -> MaskPlan:
    """Lay out what masking does to every column.

    Raises:
        ValueError: there is not exactly one mask (or None) per column.
    """
    if len(columns) != len(masks):
        raise ValueError("a decision has exactly one mask, or None, per output column")
    return MaskPlan(tuple(_column(c.name, c.type_name, mask) for c, mask in zip(columns, masks, strict=True)))


def _column(name: str, type_name: str, mask: ColumnMask | None) -> ColumnPlan:
    scan = not is_gated(type_name)
    if mask is None:
        return ColumnPlan(name, type_name, None, scan)
    if mask.operator is Operator.KEEP:
        own = ENTITIES_OF.get(mask.category, frozenset())
        return ColumnPlan(name, type_name, mask, scan, own | {mask.entity} if mask.entity else own)
    # Every other operator replaces the whole cell, and what it leaves (an initial, two or four digits, three
    # characters, a year) is too short to hold any entity: there is nothing left to read.
    return ColumnPlan(name, type_name, mask, scan=False)
