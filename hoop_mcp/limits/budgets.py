"""Counting units against limits over a sliding window. Pure: the clock is handed in, nothing is awaited.

Units are taken before they are used and given back if they were not, so that two calls at once never share the last one.
A unit counts from the moment it was taken until a window later. To keep the books small a window is cut into
:data:`SLOTS` slots, and what was taken within one slot comes free together, at the end of the slot. Deliberate
direction: that is up to a sixtieth of the window late, never early.

The books are in memory and end with the process.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SLOTS = 60
_MANY_ACCOUNTS = 10_000


class Account(NamedTuple):
    """Whose units, and what of: ``name`` is a word of ours or holds the id of a rule."""

    principal: str
    name: str


class Charge(NamedTuple):
    """Units asked of one account, of which at most ``limit`` may be in use within any ``window_s`` seconds.

    ``least`` units will do where ``units`` are not to be had. An account is always asked with the same window.
    """

    account: Account
    units: int
    limit: int
    window_s: int
    least: int


class SpentError(Exception):
    """Too few units are free. ``frees_in_s`` is when enough will be, None where the limit is below what was asked."""

    def __init__(self, charge: Charge, frees_in_s: float | None) -> None:
        super().__init__(charge.account.name)
        self.charge = charge
        self.frees_in_s = frees_in_s


@dataclass(slots=True)
class _Slot:
    ends: float
    units: int


@dataclass(slots=True)
class Reservation:
    """Units taken. What is not given back stays taken until its window has passed."""

    _taken: dict[Account, tuple[_Slot, int]] = field(default_factory=dict)

    def units(self, account: Account) -> int:
        """How many units of an account were taken and not given back."""
        return self._taken[account][1] if account in self._taken else 0

    def keep(self, account: Account, units: int) -> None:
        """Give back all but *units* of an account: more than were taken cannot be kept."""
        if account in self._taken:
            slot, taken = self._taken[account]
            kept = max(0, min(units, taken))
            slot.units -= taken - kept
            self._taken[account] = (slot, kept)

    def give_back(self) -> None:
        """Give everything back: nothing was used."""
        for account in self._taken:
            self.keep(account, 0)


class Budgets:
    """The books of every account."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Books that are empty at first; *now* is in seconds and never goes back."""
        self._now = now
        self._slots: dict[Account, deque[_Slot]] = {}

    def free(self, account: Account, limit: int, window_s: int) -> int:
        """How many units could be taken now."""
        return max(0, limit - sum(slot.units for slot in self._current(account, window_s)))

    def reserve(self, charges: Sequence[Charge]) -> Reservation:
        """Take units of every account named, or of none.

        All charges that would do with less get the same number, the most that each of them has free.

        Raises:
            SpentError: one of them has too few.
            ValueError: an account is named twice.
        """
        asked = {charge.account: charge.units for charge in charges}
        if len(asked) != len(charges):
            raise ValueError("one charge for each account")
        elastic = [charge for charge in charges if charge.least < charge.units]
        for charge in charges:
            free = self.free(charge.account, charge.limit, charge.window_s)
            if free < charge.least:
                raise SpentError(charge, self._frees_in(charge))
            asked[charge.account] = min(asked[charge.account], free)
        if elastic:
            fewest = min(asked[charge.account] for charge in elastic)
            for charge in elastic:
                asked[charge.account] = fewest
        self._forget_the_idle()
        taken = Reservation()
        for charge in charges:
            if asked[charge.account]:
                slot = self._slot(charge.account, charge.window_s)
                slot.units += asked[charge.account]
                taken._taken[charge.account] = (slot, asked[charge.account])  # noqa: SLF001 - a class of this module
        return taken

    def _current(self, account: Account, window_s: int) -> deque[_Slot]:
        slots = self._slots.get(account, deque())
        while slots and slots[0].ends + window_s <= self._now():
            slots.popleft()
        return slots

    def _slot(self, account: Account, window_s: int) -> _Slot:
        width = window_s / SLOTS
        ends = (math.floor(self._now() / width) + 1) * width
        slots = self._slots.setdefault(account, deque())
        if not slots or slots[-1].ends < ends:
            slots.append(_Slot(ends, 0))
        return slots[-1]

    def _frees_in(self, charge: Charge) -> float | None:
        if charge.least > charge.limit:
            return None
        free = self.free(charge.account, charge.limit, charge.window_s)
        for slot in self._current(charge.account, charge.window_s):
            free += slot.units
            if free >= charge.least:
                return max(0.0, slot.ends + charge.window_s - self._now())
        return None

    def _forget_the_idle(self) -> None:
        """Keep the books small where many principals came and went; a day is the longest window there is."""
        if len(self._slots) > _MANY_ACCOUNTS:
            for account in [account for account in self._slots if not self._current(account, 86_400)]:
                del self._slots[account]
