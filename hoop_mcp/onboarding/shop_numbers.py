"""Numbers that look right and belong to nobody: phones, bank accounts, cards, national identity numbers.

Each has the check digits of its kind, so that detection meets what it would meet in earnest, and lies in a range
that is set aside for fiction or tests, or that is not given out at all:

==========  ==========================================================================================
phones      ranges for fiction: NANP 555-01XX, Ofcom, Bundesnetzagentur, Arcep, PTS. The numbering
            authorities of Spain, the Netherlands and Italy publish none: nobody there has a phone
accounts    IBANs (ISO 13616) of banks that do not exist: zeros or ZZZZ for the bank
cards       prefixes that payment processors publish for tests, with the check digit of ISO/IEC 7812-1
US          Social Security numbers from 900 up, which are not assigned, with a group no ITIN has
GB          National Insurance numbers under the example prefix QQ, which is not allocated
DE          tax identification numbers that begin with 0, which are for tests
FR          NIR of département 00, which does not exist
ES          DNI from 99,000,000 up, which are not reached
NL          BSN that begin with 999, which are for tests
IT          codice fiscale of birthplace Z999, which does not exist
SE          personnummer with birth numbers 980 to 999, which are for tests
==========  ==========================================================================================

Known limit: "not given out" is what these authorities say today.
"""

from __future__ import annotations

import string
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date
    from random import Random

_US_AREAS = ("202", "206", "212", "213", "303", "305", "312", "404", "415", "503", "512", "617", "702", "713", "801")
_GB_AREAS = ("113", "114", "115", "116", "117", "118", "121", "131", "141", "151", "161")
_DE_PREFIXES = ("30 23125", "69 90009", "40 66969", "221 4710", "89 99998")
_FR_PREFIXES = ("1 99 00", "6 39 98")
_SE_PREFIXES = ("8 465 004", "31 390 06", "40 628 04", "70 174 06")
_CARD_PREFIXES = ("400000", "411111", "424242", "510510", "555555")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_CF_MONTHS = "ABCDEHLMPRST"
# The value of a character in an odd place, for 0-9 and A-Z (Decreto ministeriale 23 dicembre 1976).
_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def phone(country: str, dice: Random) -> str | None:
    """A number from a range for fiction, in international notation; None where a country has no such range."""
    three = f"{dice.randrange(1000):03d}"
    match country:
        case "US":
            return f"+1 {dice.choice(_US_AREAS)} 555 01{dice.randrange(100):02d}"
        case "GB":
            mobile = dice.random() < 0.5
            return f"+44 7700 900{three}" if mobile else f"+44 {dice.choice(_GB_AREAS)} 496 0{three}"
        case "DE":
            return f"+49 {dice.choice(_DE_PREFIXES)}{three}"
        case "FR":
            return f"+33 {dice.choice(_FR_PREFIXES)} {dice.randrange(100):02d} {dice.randrange(100):02d}"
        case "SE":
            return f"+46 {dice.choice(_SE_PREFIXES)} {dice.randrange(5, 100):02d}"
        case _:
            return None


def iban(country: str, dice: Random) -> str | None:
    """An IBAN of a bank that does not exist, without spaces; None for countries without IBANs."""

    def digits(count: int) -> str:
        return f"{dice.randrange(10**count):0{count}d}"

    match country:
        case "DE":
            return _iban("DE", "0" + digits(17))
        case "GB":
            return _iban("GB", "ZZZZ" + digits(14))
        case "NL":
            return _iban("NL", "ZZZZ" + digits(10))
        case "SE":
            return _iban("SE", "000" + digits(17))
        case "FR":
            branch, account = digits(5), digits(11)
            key = 97 - (15 * int(branch) + 3 * int(account)) % 97
            return _iban("FR", f"00000{branch}{account}{key:02d}")
        case "ES":
            branch, account = digits(4), digits(10)
            return _iban("ES", f"0000{branch}{_ccc('000000' + branch)}{_ccc(account)}{account}")
        case "IT":
            rest = f"00000{digits(5)}{digits(12)}"
            return _iban("IT", _italian_check(rest) + rest)
        case _:
            return None


def _iban(country: str, bban: str) -> str:
    """ISO 13616: 98 minus the remainder modulo 97 of the rearranged number."""
    return f"{country}{98 - _number(bban + country + '00') % 97:02d}{bban}"


def _number(text: str) -> int:
    return int("".join(str(int(character, 36)) for character in text))


def _ccc(ten: str) -> str:
    """One check digit of a Spanish account: weights are the powers of two modulo 11."""
    rest = 11 - sum(int(digit) * (2**place % 11) for place, digit in enumerate(ten)) % 11
    return str({10: 1, 11: 0}.get(rest, rest))


def card(dice: Random) -> str:
    """Sixteen digits under a prefix for tests."""
    body = f"{dice.choice(_CARD_PREFIXES)}{dice.randrange(10**9):09d}"
    return body + luhn(body)


def luhn(body: str) -> str:
    """The check digit of ISO/IEC 7812-1, Annex B."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def national_id(country: str, first: str, last: str, born: date, dice: Random) -> str:
    """The country's identity number for somebody of that name and birthday.

    Raises:
        ValueError: for a country the shop does not deliver to.
    """
    match country:
        case "US":
            return f"9{dice.randrange(100):02d}-{dice.randrange(1, 50):02d}-{dice.randrange(1, 10000):04d}"
        case "GB":
            return f"QQ{dice.randrange(10**6):06d}{dice.choice('ABCD')}"
        case "DE":
            return _german_tax_number(dice)
        case "FR":
            body = f"{dice.choice('12')}{born:%y%m}00{dice.randrange(1, 1000):03d}{dice.randrange(1, 1000):03d}"
            return f"{body}{97 - int(body) % 97:02d}"
        case "ES":
            number = 99_000_000 + dice.randrange(1_000_000)
            return f"{number}{_DNI_LETTERS[number % 23]}"
        case "NL":
            return _dutch_service_number(dice)
        case "IT":
            return _codice_fiscale(first, last, born, dice)
        case "SE":
            body = f"{born:%y%m%d}{dice.randrange(980, 1000)}"
            return f"{body[:6]}-{body[6:]}{luhn(body)}"
        case _:
            raise ValueError(f"no identity numbers for {country}")


def _german_tax_number(dice: Random) -> str:
    """Ten digits of which exactly one stands twice, then ISO/IEC 7064 MOD 11,10."""
    kept = dice.sample("123456789", 8)
    body = "0" + "".join(dice.sample([*kept, dice.choice(kept)], 9))
    check = 10
    for digit in body:
        check = (((check + int(digit)) % 10 or 10) * 2) % 11
    return f"{body}{(11 - check) % 10}"


def _dutch_service_number(dice: Random) -> str:
    """Nine digits whose weighted sum (9 to 2, and -1 for the last) divides by eleven."""
    while True:
        body = f"999{dice.randrange(10**5):05d}"
        check = sum(int(digit) * (9 - place) for place, digit in enumerate(body)) % 11
        if check < 10:
            return f"{body}{check}"


def _codice_fiscale(first: str, last: str, born: date, dice: Random) -> str:
    day = born.day + dice.choice((0, 40))
    body = f"{_cf_letters(last)}{_cf_letters(first, four=True)}{born:%y}{_CF_MONTHS[born.month - 1]}{day:02d}Z999"
    return body + _italian_check(body)


def _cf_letters(name: str, *, four: bool = False) -> str:
    letters = [letter for letter in plain(name).upper() if letter in string.ascii_uppercase]
    consonants = [letter for letter in letters if letter not in "AEIOU"]
    if four and len(consonants) > 3:
        consonants = [consonants[0], *consonants[2:]]
    vowels = [letter for letter in letters if letter in "AEIOU"]
    return "".join([*consonants, *vowels, "X", "X", "X"])[:3]


def _italian_check(body: str) -> str:
    """The letter that closes a codice fiscale, and that opens an Italian account number."""
    total = 0
    for place, character in enumerate(body):
        value = int(character) if character.isdigit() else ord(character) - ord("A")
        total += _CF_ODD[value] if place % 2 == 0 else value
    return string.ascii_uppercase[total % 26]


_UNDECOMPOSED = str.maketrans({"ø": "o", "Ø": "O", "æ": "ae", "ß": "ss", "œ": "oe", "ł": "l", "đ": "d"})


def plain(name: str) -> str:
    """A name in ASCII letters, as it stands in e-mail addresses."""
    return unicodedata.normalize("NFKD", name.translate(_UNDECOMPOSED)).encode("ascii", "ignore").decode()
