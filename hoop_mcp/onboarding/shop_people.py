"""People for the shop: names, addresses and everything that hangs on a person. Nobody in it is real.

Faker knows the names, streets and towns of eight countries. It is asked once for a pool of each; people are drawn
from the pools, which makes twenty thousand of them take a second rather than half a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import TYPE_CHECKING

from faker import Faker

from hoop_mcp.onboarding import shop_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 20_260_901
COUNTRIES = {
    "DE": "de_DE",
    "GB": "en_GB",
    "US": "en_US",
    "FR": "fr_FR",
    "ES": "es_ES",
    "NL": "nl_NL",
    "IT": "it_IT",
    "SE": "sv_SE",
}
WEIGHTS = (22, 15, 15, 15, 9, 9, 9, 6)
LANGUAGES = {"DE": "de", "GB": "en", "US": "en", "FR": "fr", "ES": "es", "NL": "nl", "IT": "it", "SE": "sv"}
CURRENCIES = {"GB": "GBP", "US": "USD", "SE": "SEK"}  # the others pay in euros
_NUMBER_FIRST = ("GB", "US", "FR")
_RESERVED_DOMAINS = ("example.com", "example.org", "example.net")  # RFC 2606, section 3
_BORN = date(1940, 1, 1), date(2006, 12, 31)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who does not exist. ``phone`` and ``iban`` are None where :mod:`.shop_numbers` has no range."""

    first: str
    last: str
    email: str
    phone: str | None
    street: str
    postcode: str
    city: str
    country: str
    born_on: date
    iban: str | None
    national_id: str

    @property
    def name(self) -> str:
        """First and last name, as the shop keeps it."""
        return f"{self.first} {self.last}"

    @property
    def address(self) -> str:
        """Street and town on one line."""
        return f"{self.street}, {self.postcode} {self.city}"


@dataclass(frozen=True, slots=True)
class _Pool:
    first: tuple[str, ...]
    last: tuple[str, ...]
    streets: tuple[str, ...]
    towns: tuple[tuple[str, str], ...]


def dice_for(stream: str) -> Random:
    """One source of chance per table, so that more customers do not change which products there are."""
    return Random(f"{SEED}/{stream}")  # noqa: S311 - a seeded shop, nothing secret


def _pools() -> dict[str, _Pool]:
    pools = {}
    for country, locale in COUNTRIES.items():
        fake = Faker(locale)
        fake.seed_instance(SEED)
        pools[country] = _Pool(
            first=_distinct(fake.first_name, 300),
            last=_distinct(fake.last_name, 500),
            streets=_distinct(fake.street_name, 300),
            towns=tuple(zip(_distinct(fake.city, 120), [fake.postcode() for _ in range(120)], strict=False)),
        )
    return pools


def _distinct(ask: Callable[[], str], count: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ask() for _ in range(count)))


def people(count: int, *, stream: str, countries: tuple[str, ...] = tuple(COUNTRIES)) -> list[Person]:
    """That many people, always the same; addresses for mail are distinct."""
    dice, pools = dice_for(stream), _pools()
    weights = [WEIGHTS[list(COUNTRIES).index(country)] for country in countries]
    days = (_BORN[1] - _BORN[0]).days
    taken: dict[str, int] = {}
    made = []
    for country in dice.choices(countries, weights, k=count):
        pool = pools[country]
        first, last = dice.choice(pool.first), dice.choice(pool.last)
        number, street = dice.randrange(1, 160), dice.choice(pool.streets)
        city, postcode = dice.choice(pool.towns)
        born_on = _BORN[0] + timedelta(days=dice.randrange(days))
        made.append(
            Person(
                first=first,
                last=last,
                email=_email(first, last, taken, dice),
                phone=shop_numbers.phone(country, dice),
                street=f"{number} {street}" if country in _NUMBER_FIRST else f"{street} {number}",
                postcode=postcode,
                city=city,
                country=country,
                born_on=born_on,
                iban=shop_numbers.iban(country, dice),
                national_id=shop_numbers.national_id(country, first, last, born_on, dice),
            )
        )
    return made


def _email(first: str, last: str, taken: dict[str, int], dice: Random) -> str:
    words = (shop_numbers.plain(name).lower().replace(" ", "").replace("'", "") for name in (first, last))
    local, domain = ".".join(words), dice.choice(_RESERVED_DOMAINS)
    taken[local] = taken.get(local, 0) + 1
    return f"{local}{taken[local] if taken[local] > 1 else ''}@{domain}"
