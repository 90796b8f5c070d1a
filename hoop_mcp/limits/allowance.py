"""What a principal may still use: the ceilings that always hold, and the budgets of the rules that let a call through.

Each is there against one way of asking for what is not shown:

* **lookups**: every constant that a lookup column is compared with is a guess at who is there;
* **parse errors**: what PostgreSQL refuses before it runs can be made to depend on what exists;
* **failures on personal data**: that a statement fails, is late or is too large is one bit of the data it ran over;
* **rows**, where a rule limits them: how much of a table walks away in small answers.

All are counted by the principal and not by its session: who reconnects keeps what was spent. They are taken before a
statement runs and given back only where it did not run, or did not do what they count.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.errors import JournalUnavailable, Refused
from hoop_mcp.limits.budgets import Account, Budgets, Charge, SpentError
from hoop_mcp.limits.turns import Turns
from hoop_mcp.settings import LimitSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from hoop_mcp.limits.budgets import Reservation
    from hoop_mcp.terms import Analysis, Budget, Decision, JsonValue

HOUR_S = 3_600
LOOKUPS, PARSE_ERRORS, FAILURES, ROWS = "lookups", "parse errors", "failures on personal data", "rows"

_NOT_OF_THE_STATEMENT = frozenset({"HOOP216", "HOOP501", "HOOP505", "HOOP508"})
"""Refusals at Parse that the text did not cause: no connection, or something changed meanwhile."""

_NOTHING_CAME_OF_IT = frozenset({"HOOP214", "HOOP216", "HOOP505"})
"""Refusals after the decision that ran nothing, or whose rows were withheld for a change that others made."""


@dataclass(slots=True)
class Spending:
    """What one statement has taken. ``rows`` is how many it may answer."""

    rows: int
    _reservation: Reservation
    _of_rows: tuple[Account, ...]
    _of_failures: tuple[Account, ...]

    def answered(self, rows: int) -> None:
        """The statement ended well with so many rows: nothing failed, and no other row was used."""
        for account in self._of_failures:
            self._reservation.keep(account, 0)
        for account in self._of_rows:
            self._reservation.keep(account, rows)

    def failed(self, error: BaseException) -> None:
        """It ended otherwise: no row was used, and unless nothing ran the failure and the lookups stay spent."""
        ran_nothing = isinstance(error, JournalUnavailable) or (
            isinstance(error, Refused) and error.code in _NOTHING_CAME_OF_IT
        )
        if ran_nothing:
            self._reservation.give_back()
        for account in self._of_rows:
            self._reservation.keep(account, 0)


class Allowance:
    """The ceilings of every principal. One for a running server."""

    def __init__(self, limits: LimitSettings | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        """Nothing is spent at first; *now* is a monotonic clock in seconds."""
        self._limits = limits or LimitSettings()
        self._budgets = Budgets(now)
        self._turns = Turns(self._limits.running, self._limits.waiting)

    def turn(self, principal: str) -> AbstractAsyncContextManager[None]:
        """A place among the principal's calls at work; see :meth:`Turns.turn`."""
        return self._turns.turn(principal)

    @contextmanager
    def parsing(self, principal: str) -> Iterator[None]:
        """Around one Parse: a statement that PostgreSQL refuses there has spent one.

        Raises:
            Refused: HOOP321, too many were refused.
        """
        taken = self._take([_charge(principal, PARSE_ERRORS, 1, self._limits.parse_errors)])
        try:
            yield
        except Refused as refused:
            if refused.code in _NOT_OF_THE_STATEMENT:
                taken.give_back()
            raise
        taken.give_back()

    @contextmanager
    def spending(self, principal: str, analysis: Analysis, decision: Decision, rows: int) -> Iterator[Spending]:
        """Around the execution of one allowed statement, of which *rows* rows would be answered.

        Raises:
            Refused: HOOP321, something it needs is spent; nothing ran.
        """
        guesses = max(analysis.guesses, len(analysis.lookups))
        # Where small groups are withheld, that a statement fails may tell of one of them.
        failures = int(analysis.personal or (analysis.groups is not None and decision.limits.min_group is not None))
        charges = [
            _charge(principal, LOOKUPS, guesses, self._limits.lookups),
            _charge(principal, FAILURES, failures, self._limits.failures),
        ]
        of_failures = [charges[1].account]
        of_rows: list[Account] = []
        for budget in decision.budgets:
            if budget.lookups is not None:
                charges.append(_of_rule(principal, budget, LOOKUPS, guesses, budget.lookups))
            if budget.failures is not None:
                charges.append(_of_rule(principal, budget, FAILURES, failures, budget.failures))
                of_failures.append(charges[-1].account)
            if budget.rows is not None:
                charges.append(_of_rule(principal, budget, ROWS, rows, budget.rows)._replace(least=min(1, rows)))
                of_rows.append(charges[-1].account)
        taken = self._take([charge for charge in charges if charge.units])
        most = min([rows, *(taken.units(account) for account in of_rows)])
        spending = Spending(most, taken, tuple(of_rows), tuple(of_failures))
        try:
            yield spending
        except BaseException as error:
            spending.failed(error)
            raise

    def left(self, principal: str, budgets: Sequence[Budget]) -> dict[str, JsonValue]:
        """What may still be used, for the principal to know: of the ceilings, and of the *budgets* of its rules."""
        ceilings = (
            ("lookups", LOOKUPS, self._limits.lookups),
            ("parse_errors", PARSE_ERRORS, self._limits.parse_errors),
            ("failures_on_personal_data", FAILURES, self._limits.failures),
        )
        told: dict[str, JsonValue] = {
            key: self._budgets.free(Account(principal, name), limit, HOUR_S) for key, name, limit in ceilings
        }
        rules: list[JsonValue] = []
        for budget in budgets:
            entry: dict[str, JsonValue] = {"rule": budget.rule, "per": _spoken(budget.window_s)}
            for name, limit in ((ROWS, budget.rows), (LOOKUPS, budget.lookups), (FAILURES, budget.failures)):
                if limit is not None:
                    account = _of_rule(principal, budget, name, 0, limit).account
                    entry[name.partition(" ")[0]] = self._budgets.free(account, limit, budget.window_s)
            rules.append(entry)
        return {"per_hour": told, **({"rules": rules} if rules else {})}

    def _take(self, charges: Sequence[Charge]) -> Reservation:
        try:
            return self._budgets.reserve(charges)
        except SpentError as spent:
            raise _refusal(spent) from None


def _charge(principal: str, name: str, units: int, limit: int) -> Charge:
    return Charge(Account(principal, name), units, limit, HOUR_S, units)


def _of_rule(principal: str, budget: Budget, name: str, units: int, limit: int) -> Charge:
    return Charge(Account(principal, f"{name} under rule {budget.rule}"), units, limit, budget.window_s, units)


def _refusal(spent: SpentError) -> Refused:
    charge = spent.charge
    most = f"{charge.limit} {charge.account.name} in any {_spoken(charge.window_s)}"
    if spent.frees_in_s is None:
        return Refused(
            "HOOP321",
            f"The statement alone asks for {charge.least}, and you may have {most}.",
            "Ask for fewer at once.",
        )
    minutes = max(1, math.ceil(spent.frees_in_s / 60))
    when = f"{minutes} minute{'s' if minutes > 1 else ''}"
    return Refused("HOOP321", f"You may have {most}, and they are spent.", f"Enough will be free again in {when}.")


def _spoken(window_s: int) -> str:
    return "hour" if window_s == HOUR_S else "day"
