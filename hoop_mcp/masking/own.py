"""Scanners of ours, where Presidio has none or its way loses finds: e-mail, IBAN, payment cards, the French NIR.

Each is linear in the text and yields places; each find is proved by shape and, where there is one, by its checksum.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import regex
from presidio_analyzer.predefined_recognizers.generic.iban_patterns import regex_per_country

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCAL = r"[!#$%&'*+\-/=?^_`{|}~.\w]"
_EMAIL = re.compile(
    # A local part begins where its alphabet begins, and never gives back: one try per run of characters, no more.
    rf"""(?:(?<!{_LOCAL}){_LOCAL}++|"[^"\n\0]{{1,64}}")"""
    r"@(?:\w++(?:[.\-]++\w++)*+|\[[0-9a-fA-F.:IPv]{3,60}\])"
)
_IBAN = re.compile(r"(?=((?i:[A-Z]{2}[0-9]{2})(?:[ -]?[A-Za-z0-9]){11,30}))")
_CARD = re.compile(r"(?<![0-9])[2-6][0-9](?:[ -]?[0-9]){10,17}(?![0-9])")
_NIR = re.compile(r"(?<![0-9A-Za-z])([12] ?\d{2} ?\d{2} ?\d[\dABab] ?\d{3} ?\d{3}) ?(\d{2})(?![0-9A-Za-z])", re.ASCII)
_BETWEEN = re.compile(r"[^A-Za-z0-9]+")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

_LETTERS = {ord(letter): str(int(letter, 36)) for letter in string.ascii_uppercase}
_COUNTRIES = {country: regex.compile(shape, regex.IGNORECASE) for country, shape in regex_per_country.items()}


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Addresses (RFC 5322 dot-atoms and short quoted strings) at any domain with a dot, public or not."""
    for match in _EMAIL.finditer(text):
        if "." in match[0].rpartition("@")[2]:
            yield match.span()


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """ISO 13616: a country, two check digits (ISO 7064 mod 97-10), and a fixed number of characters per country."""
    for candidate in _IBAN.finditer(text):
        raw = candidate[1]
        country = _COUNTRIES.get(raw[:2].upper())
        if country is None:
            continue
        compact = _BETWEEN.sub("", raw)
        shape = country.match(compact)
        if shape is None:
            continue
        if int((compact[4 : shape.end()] + compact[:4]).upper().translate(_LETTERS)) % 97 != 1:
            continue
        yield candidate.start(1), candidate.start(1) + _spread(raw, shape.end())


def cards(text: str) -> Iterator[tuple[int, int]]:
    """ISO/IEC 7812 numbers of 12 to 19 digits with a valid check digit; Presidio's pattern lacks the 2-series."""
    for match in _CARD.finditer(text):
        digits = [int(char) for char in match[0] if char.isdigit()]
        if (sum(digits[-1::-2]) + sum(_DOUBLED[d] for d in digits[-2::-2])) % 10 == 0:
            yield match.span()


def nirs(text: str) -> Iterator[tuple[int, int]]:
    """The French social security number: 13 characters and a key modulo 97; Corsica's 2A and 2B count as 19 and 18."""
    for match in _NIR.finditer(text):
        number = match[1].replace(" ", "").upper().replace("2A", "19").replace("2B", "18")
        if number.isdigit() and 97 - int(number) % 97 == int(match[2]):
            yield match.span()


def _spread(raw: str, count: int) -> int:
    """How far into ``raw`` its first ``count`` letters and digits reach."""
    at = 0
    for _ in range(count):
        while not raw[at].isalnum():
            at += 1
        at += 1
    return at
