"""The mask ladder: keep < partial < generalise < pseudonym < redact < nullify, as pure functions of one printed cell.

An operator is built once per column by :func:`operator_for` and cannot be built wrong: unknown or unusable options
raise. It takes the text PostgreSQL prints and returns text that is again a valid value of the column's type, or None
(SQL NULL) where the type has no harmless value. No operator but keep ever returns the value it was given: where too
little would be hidden, it redacts.

NULL never reaches an operator; the empty string stays empty, except under redact and nullify: there it would be an
answer of its own.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, assert_never
from uuid import UUID

from hoop_mcp.masking.pgtypes import DATED, FRACTIONS, TEXT_LIKE, WHOLE_NUMBERS
from hoop_mcp.terms import Operator

if TYPE_CHECKING:
    from hoop_mcp.terms import ColumnMask

MIN_KEY_BYTES = 16
TOKEN_HEX_DIGITS = 16  # 64 bits: two of a million values collide with a chance of 3 in 10**8

_EMAIL = re.compile(r"([^\s@])([^\s@]*)@(?:[^\s@.]+\.)+([^\s@.]{1,24})")
_PHONE = re.compile(r"[+(]?[\d\s().\-/+x]*")
_DATE = re.compile(r"(\d{4,6})-\d\d-\d\d(?:$| )")
_NUMBER = re.compile(r"(-?)(\d+)(?:\.\d*)?(?:[eE]([+-]\d+))?")
_PUNCTUATION = re.compile(r"[\W_]+")
_NOT_WORD = re.compile(r"[^A-Z0-9]+")
_CODE_ENTITIES = frozenset({"IBAN_CODE", "CREDIT_CARD"})


class Mask(Protocol):
    """One operator, ready for one column."""

    def __call__(self, text: str) -> str | None:
        """Mask one printed, non-null cell."""
        ...


def label_of(mask: ColumnMask) -> str:
    """The word a placeholder shows: the entity, else the category. It depends on the column, never on the value."""
    return _label(mask.entity or mask.category)


@lru_cache(maxsize=256)
def _label(word: str) -> str:
    return _NOT_WORD.sub("_", word.upper()).strip("_") or "PERSONAL"


@dataclass(frozen=True, slots=True)
class Keep:
    """The value as it is; the column's own entities are final, every other entity is still looked for."""

    def __call__(self, text: str) -> str | None:
        """Mask one printed cell."""
        return text


@dataclass(frozen=True, slots=True)
class Nullify:
    """Nothing at all, not even whether the value was empty."""

    def __call__(self, text: str) -> str | None:  # noqa: ARG002 - that is the point
        """Mask one printed cell."""
        return None


@dataclass(frozen=True, slots=True)
class Redact:
    """A placeholder of fixed width where the type can hold one, else NULL."""

    label: str
    type_name: str

    @property
    def placeholder(self) -> str | None:
        """What stands for every value, '' too; None where the type cannot hold it."""
        return f"[{self.label}]" if self.type_name in TEXT_LIKE else None

    def __call__(self, text: str) -> str | None:  # noqa: ARG002 - one answer for every value
        """Mask one printed cell."""
        return self.placeholder


@dataclass(frozen=True, slots=True)
class Partial:
    """A hint for someone who already knows the value: an initial, or the last ``last`` digits.

    Direction: a value too short to hide more than it shows is redacted. Types without letters are generalised.
    """

    label: str
    type_name: str
    last: int | None = None

    def __post_init__(self) -> None:
        if self.last is not None and not 1 <= self.last <= 4:
            raise ValueError("partial: last must be 1 to 4")

    def __call__(self, text: str) -> str | None:
        """Mask one printed cell."""
        if self.type_name not in TEXT_LIKE:
            return Generalise(self.label, self.type_name)(text)
        if not text:
            return text
        bare = text.strip()
        if "@" in bare and (email := _EMAIL.fullmatch(bare)):
            first, rest, top = email.groups()
            # A local part of one or two letters would be half told by its initial.
            return f"{first if len(rest) > 1 else ''}***@***.{top}"
        code = self.label in _CODE_ENTITIES
        if code or self.label == "PHONE_NUMBER" or _PHONE.fullmatch(bare):
            tail = _PUNCTUATION.sub("", bare)
            shown = self.last or (4 if code else 2)
            return f"***{tail[-shown:]}" if len(tail) >= 7 else f"[{self.label}]"
        return f"{bare[0]}***" if len(bare) >= 4 else f"[{self.label}]"


@dataclass(frozen=True, slots=True)
class Generalise:
    """A coarser value of the same type: the year, a rounded number, a network, the first characters.

    A date becomes the first of January of its year; a number loses all but its first digit, or falls into a bucket of
    ``bucket``, both towards zero so that it still fits its type; an address its network (/24, /48); text its first
    ``keep`` characters, as postcodes are cut. Other types have no coarser value: NULL.
    """

    label: str
    type_name: str
    keep: int = 2
    bucket: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= 3:
            raise ValueError("generalise: keep must be 1 to 3")
        if self.bucket is not None and self.bucket < 2:
            raise ValueError("generalise: bucket must be 2 or more")

    def __call__(self, text: str) -> str | None:
        """Mask one printed cell."""
        kind = self.type_name
        if kind in TEXT_LIKE:
            bare = text.strip()
            if not bare:
                return text if not text else f"[{self.label}]"
            return f"{bare[: self.keep]}***" if len(bare) >= 2 * self.keep else f"[{self.label}]"
        if kind in DATED:
            return self._year(text)
        if kind in WHOLE_NUMBERS or kind in FRACTIONS:
            return self._round(text)
        return self._network(text) if kind in {"inet", "cidr"} else None

    def _year(self, text: str) -> str | None:
        found = _DATE.match(text)
        if found is None or text.endswith("BC"):
            return None
        clock = {"date": "", "timestamp": " 00:00:00", "timestamptz": " 00:00:00+00"}[self.type_name]
        return f"{found[1]}-01-01{clock}"

    def _round(self, text: str) -> str | None:
        found = _NUMBER.fullmatch(text)
        if found is None or found[3] is not None:
            return None  # NaN, Infinity, and floats so large or small that they print an exponent
        digits = found[2].lstrip("0") or "0"
        if self.bucket is not None:
            rounded = str(int(digits) // self.bucket * self.bucket)
        else:
            rounded = digits[0] + "0" * (len(digits) - 1) if len(digits) > 1 else "0"
        return rounded if rounded == "0" else found[1] + rounded

    def _network(self, text: str) -> str | None:
        try:
            address = ipaddress.ip_interface(text)
        except ValueError:
            return None
        prefix = min(address.network.prefixlen, 24 if address.version == 4 else 48)
        return str(ipaddress.ip_network(f"{address.ip}/{prefix}", strict=False))


@dataclass(frozen=True, slots=True)
class Pseudonym:
    """A typed token that is equal exactly where the normalised values are equal: joins and counts still work.

    HMAC-SHA256 under a key of the deployment, one subkey per entity: without the key nobody can test a guess, and a
    token of one entity says nothing about another. It stays personal data (GDPR Art. 4(5)), and how often a token
    occurs is visible: whoever must not see that uses redact. Only text and uuid have room for a token; a made-up
    number or date would be taken for a real one, so other types become NULL.
    """

    label: str
    type_name: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < MIN_KEY_BYTES:
            raise ValueError(f"pseudonym: the key must have {MIN_KEY_BYTES} bytes or more")
        object.__setattr__(self, "key", hmac.digest(self.key, b"hoop-mcp pseudonym\0" + self.label.encode(), "sha256"))

    def __call__(self, text: str) -> str | None:
        """Mask one printed cell."""
        if self.type_name == "uuid":
            return str(UUID(bytes=self._digest(text)[:16], version=4))
        if self.type_name not in TEXT_LIKE:
            return None
        return f"<{self.label}:{self._digest(text).hex()[:TOKEN_HEX_DIGITS]}>" if text else text

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self.key, normalise(self.label, text).encode("utf-8", "surrogatepass"), "sha256")


def normalise(label: str, text: str) -> str:
    """The spelling under which two values of an entity are the same value."""
    folded = unicodedata.normalize("NFKC", text).strip().casefold()
    if label == "EMAIL_ADDRESS":
        return folded
    if label == "PHONE_NUMBER":
        digits = "".join(c for c in folded.replace("(0)", "") if c.isdecimal())
        international = folded.startswith("+")
        return "+" + (digits if international else digits[2:]) if international or digits.startswith("00") else digits
    if label in _CODE_ENTITIES or label.endswith(("_SSN", "_ID", "_NIF", "_NIE", "_NINO", "_NHS")):
        return "".join(c for c in folded if c.isalnum())
    return " ".join(folded.split())


_OPTIONS: dict[Operator, frozenset[str]] = {
    Operator.PARTIAL: frozenset({"last"}),
    Operator.GENERALISE: frozenset({"keep", "bucket"}),
}


def operator_for(mask: ColumnMask, type_name: str, *, key: bytes) -> Mask:
    """Build a column's operator.

    Args:
        mask: what policy decided for the column.
        type_name: the column's ``pg_type.typname``.
        key: the deployment's pseudonym key, at least 16 bytes; used by pseudonym only.

    Raises:
        ValueError: an option is unknown to the operator or its value is unusable.
    """
    options: dict[str, int] = {}
    for name, value in mask.options:
        if name not in _OPTIONS.get(mask.operator, frozenset()):
            raise ValueError(f"{mask.operator.name.lower()} has no option {name!r}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{mask.operator.name.lower()}: {name} must be a whole number")  # noqa: TRY004 - an option, not a type, is wrong
        options[name] = value
    label = label_of(mask)
    match mask.operator:
        case Operator.KEEP:
            return Keep()
        case Operator.PARTIAL:
            return Partial(label, type_name, **options)
        case Operator.GENERALISE:
            return Generalise(label, type_name, keep=options.get("keep", 2), bucket=options.get("bucket"))
        case Operator.PSEUDONYM:
            return Pseudonym(label, type_name, key)
        case Operator.REDACT:
            return Redact(label, type_name)
        case Operator.NULLIFY:
            return Nullify()
        case _:
            assert_never(mask.operator)
