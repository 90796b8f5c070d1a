"""Budgets as books: whatever order units are taken, kept and given back in, no window ever holds more than its limit."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hoop_mcp.limits.budgets import Account, Budgets, Charge, SpentError

LIMIT, WINDOW = 7, 600


def many(examples):
    # Without shrinking: that a wrong one is caught is all that is asked, and a counter-example here is a long story.
    return settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


ACCOUNTS = [Account("ann", "lookups"), Account("ann", "rows"), Account("bob", "lookups")]


class Clock:
    def __init__(self):
        self.now = 1_000_003.7

    def __call__(self):
        return self.now


def charge(account=ACCOUNTS[0], units=1, *, limit=LIMIT, window=WINDOW, least=None):
    return Charge(account, units, limit, window, units if least is None else least)


class Interleaving(RuleBasedStateMachine):
    """Any number of calls at once. The model is a list of every unit with the moment it was taken."""

    books = Budgets

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.budgets = self.books(self.clock)
        self.open = []
        self.used = []  # (account, moment, units): open ones count in full

    @rule(
        wanted=st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.integers(1, 5), st.booleans()), min_size=1, max_size=3)
    )
    def take(self, wanted):
        charges = {account: charge(account, units, least=1 if elastic else units) for account, units, elastic in wanted}
        before = {account: self.budgets.free(account, LIMIT, WINDOW) for account in ACCOUNTS}
        try:
            reservation = self.budgets.reserve(list(charges.values()))
        except SpentError as spent:
            reservation, short = None, spent.charge
        if reservation is None:
            assert before[short.account] < short.least
            assert {account: self.budgets.free(account, LIMIT, WINDOW) for account in ACCOUNTS} == before
            return
        taken = {account: reservation.units(account) for account in charges}
        assert all(charges[account].least <= units <= charges[account].units for account, units in taken.items())
        self.open.append((reservation, self.clock(), taken))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data):
        reservation, moment, taken = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        for account, units in taken.items():
            kept = data.draw(st.integers(0, units + 2))
            reservation.keep(account, kept)
            self.used.append((account, moment, min(kept, units)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def give_back(self, data):
        reservation, _, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        reservation.give_back()
        reservation.give_back()  # a second time changes nothing

    @rule(seconds=st.floats(0, WINDOW * 1.2))
    def wait(self, seconds):
        self.clock.now += seconds

    @invariant()
    def no_window_holds_more_than_the_limit(self):
        within = [
            (account, units)
            for account, moment, units in [
                *self.used,
                *((account, moment, units) for _, moment, taken in self.open for account, units in taken.items()),
            ]
            if moment > self.clock() - WINDOW
        ]
        for account in ACCOUNTS:
            assert sum(units for other, units in within if other == account) <= LIMIT


def test_no_interleaving_of_calls_takes_more_than_a_window_holds():
    run_state_machine_as_test(Interleaving, settings=many(150))


class Forgetful(Budgets):
    """Looks before and takes after: what two calls at once would both pass."""

    def reserve(self, charges):
        return super().reserve([one._replace(limit=10**6) for one in charges])


class Early(Budgets):
    """Forgets after half the window."""

    def free(self, account, limit, window_s):
        return super().free(account, limit, window_s // 2)


@pytest.mark.parametrize("wrong", [Forgetful, Early])
def test_wrong_books_are_caught(wrong):
    class Wrong(Interleaving):
        books = wrong

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Wrong, settings=many(300))


def test_what_is_spent_says_when_enough_is_free_and_it_is():
    clock = Clock()
    budgets = Budgets(clock)
    for _ in range(LIMIT):
        budgets.reserve([charge()])
        clock.now += 20
    with pytest.raises(SpentError) as spent:
        budgets.reserve([charge(units=3)])
    wait = spent.value.frees_in_s
    clock.now += wait - 0.01
    with pytest.raises(SpentError):
        budgets.reserve([charge(units=3)])
    clock.now += 0.02
    budgets.reserve([charge(units=3)])


def test_more_at_once_than_the_limit_never_becomes_free():
    with pytest.raises(SpentError) as spent:
        Budgets(Clock()).reserve([charge(units=LIMIT + 1)])
    assert spent.value.frees_in_s is None


@given(st.integers(0, LIMIT), st.integers(0, LIMIT))
def test_charges_that_do_with_less_all_get_the_same(first, second):
    budgets = Budgets(Clock())
    accounts = ACCOUNTS[:2]
    for account, units in zip(accounts, (first, second), strict=True):
        if units:
            budgets.reserve([charge(account, units)])
    elastic = [charge(account, 5, least=1) for account in accounts]
    if max(first, second) == LIMIT:
        with pytest.raises(SpentError):
            budgets.reserve(elastic)
        return
    taken = budgets.reserve(elastic)
    assert {taken.units(account) for account in accounts} == {min(5, LIMIT - max(first, second))}


def test_an_account_named_twice_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="each account"):
        Budgets(Clock()).reserve([charge(), charge()])


def test_principals_that_went_away_are_forgotten():
    clock = Clock()
    budgets = Budgets(clock)
    for number in range(10_002):
        budgets.reserve([charge(Account(f"p{number}", "lookups"))])
    clock.now += 2 * 86_400
    budgets.reserve([charge()])
    assert len(budgets._slots) == 1
