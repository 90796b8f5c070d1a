"""What is taken for a statement, what stays spent however it ends, and what is told of it."""

import pytest

from hoop_mcp.errors import JournalUnavailable, Refused
from hoop_mcp.limits.allowance import Allowance
from hoop_mcp.limits.sieve import Sieve, sieve_for
from hoop_mcp.settings import LimitSettings
from hoop_mcp.terms import Analysis, Budget, ColumnRef, Decision, Effect, Groups, Limits, OutputColumn, Verb

EMAIL = ColumnRef("public", "customers", "email")
CEILINGS = LimitSettings(lookups=10, parse_errors=3, failures=2)


def analysis(*, guesses=0, personal=True, groups=None):
    return Analysis(
        verb=Verb.READ,
        columns=(OutputColumn("email", "text", frozenset({EMAIL}) if personal else frozenset()),),
        probes=frozenset(),
        lookups=frozenset({EMAIL}) if guesses else frozenset(),
        relations=frozenset({"public.customers"}),
        behind=frozenset(),
        functions=frozenset(),
        guesses=guesses,
        groups=groups,
    )


def allowed(*budgets, **limits):
    return Decision(Effect.ALLOW, ("r",), ("Because.",), budgets=budgets, limits=Limits(**limits))


class Clock:
    now = 5_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def allowance(clock):
    return Allowance(CEILINGS, now=clock)


def left(allowance, who="ann", budgets=()):
    told = allowance.left(who, budgets)
    return told["rules"][0] if budgets else told["per_hour"]


def run(allowance, statement, decision=None, *, rows=100, answered=1, who="ann", error=None):
    with allowance.spending(who, statement, decision or allowed(), rows) as spending:
        if error is not None:
            raise error
        spending.answered(answered)
    return spending.rows


def test_every_constant_of_a_lookup_counts_and_stays_spent(allowance):
    run(allowance, analysis(guesses=4))
    run(allowance, analysis(guesses=5))
    assert left(allowance)["lookups"] == 1
    with pytest.raises(Refused) as refused:
        run(allowance, analysis(guesses=2))
    assert refused.value.code == "HOOP321"
    assert "61 minutes" in refused.value.instead or "60 minutes" in refused.value.instead
    run(allowance, analysis(guesses=1))


def test_a_lookup_that_was_not_counted_constant_by_constant_counts_once(allowance):
    statement = analysis(guesses=1)
    run(allowance, Analysis(**{name: getattr(statement, name) for name in statement.__slots__} | {"guesses": 0}))
    assert left(allowance)["lookups"] == 9


def test_more_guesses_at_once_than_there_ever_are_says_so(allowance):
    with pytest.raises(Refused, match="alone asks for 11"):
        run(allowance, analysis(guesses=11))
    assert left(allowance)["lookups"] == 10


def test_a_failure_over_personal_data_stays_spent_and_a_success_does_not(allowance):
    for _ in range(5):
        run(allowance, analysis())
    assert left(allowance)["failures_on_personal_data"] == 2
    for error in (Refused("HOOP503", "An error."), TimeoutError()):
        with pytest.raises(type(error)):
            run(allowance, analysis(), error=error)
    with pytest.raises(Refused) as refused:
        run(allowance, analysis())
    assert refused.value.code == "HOOP321"
    run(allowance, analysis(personal=False))


def test_a_failure_where_small_groups_are_withheld_counts_as_one_over_personal_data(allowance):
    statement, decision = analysis(personal=False, groups=Groups(counted=(0,))), allowed(min_group=5)
    with pytest.raises(Refused):
        run(allowance, statement, decision, error=Refused("HOOP507", "Too large."))
    assert left(allowance)["failures_on_personal_data"] == 1


def test_a_failure_over_nothing_personal_costs_nothing(allowance):
    with pytest.raises(Refused):
        run(allowance, analysis(personal=False), error=Refused("HOOP503", "An error."))
    assert left(allowance)["failures_on_personal_data"] == 2


@pytest.mark.parametrize(
    "error", [JournalUnavailable("full"), Refused("HOOP505", "Changed."), Refused("HOOP214", "Does not fit.")]
)
def test_what_did_not_run_gives_everything_back(allowance, error):
    budget = Budget("r", 3_600, rows=50, lookups=5, failures=1)
    with pytest.raises(type(error)):
        run(allowance, analysis(guesses=3), allowed(budget), error=error)
    assert left(allowance) == {"lookups": 10, "parse_errors": 3, "failures_on_personal_data": 2}
    assert left(allowance, budgets=[budget]) == {"rule": "r", "per": "hour", "rows": 50, "lookups": 5, "failures": 1}


def test_two_calls_at_once_do_not_both_pass_the_last_unit(allowance):
    with allowance.spending("ann", analysis(guesses=10), allowed(), 1), pytest.raises(Refused):
        run(allowance, analysis(guesses=1))


def test_two_statements_that_may_fail_do_not_share_the_last_failure(allowance):
    one, two = (allowance.spending("ann", analysis(), allowed(), 1) for _ in range(2))
    with one, two, pytest.raises(Refused):
        run(allowance, analysis())


def test_a_rule_gives_no_more_rows_than_it_has_left(allowance):
    budget = Budget("r", 86_400, rows=30)
    assert run(allowance, analysis(), allowed(budget), rows=20, answered=12) == 20
    assert run(allowance, analysis(), allowed(budget), rows=20, answered=18) == 18
    with pytest.raises(Refused) as refused:
        run(allowance, analysis(), allowed(budget), rows=20)
    assert "30 rows under rule r in any day" in refused.value.reason
    run(allowance, analysis())  # another rule's statements go on


def test_the_tightest_of_several_row_budgets_holds_and_all_are_charged_alike(allowance):
    tight, wide = Budget("a", 3_600, rows=5), Budget("b", 3_600, rows=50)
    assert run(allowance, analysis(), allowed(tight, wide), rows=20, answered=4) == 5
    assert left(allowance, budgets=[wide])["rows"] == 46


def test_rows_of_a_statement_that_failed_were_not_answered(allowance):
    budget = Budget("r", 3_600, rows=30)
    with pytest.raises(Refused):
        run(allowance, analysis(), allowed(budget), error=Refused("HOOP507", "Too large."))
    assert left(allowance, budgets=[budget])["rows"] == 30


def test_each_rule_keeps_its_own_books_and_so_does_each_principal(allowance):
    one, other = Budget("one", 3_600, lookups=3), Budget("other", 3_600, lookups=3)
    run(allowance, analysis(guesses=3), allowed(one))
    run(allowance, analysis(guesses=3), allowed(other))
    with pytest.raises(Refused):
        run(allowance, analysis(guesses=1), allowed(one))
    run(allowance, analysis(guesses=3), allowed(one), who="bob")


def test_parse_errors_are_counted_and_a_good_parse_is_not(allowance, clock):
    for _ in range(9):
        with allowance.parsing("ann"):
            pass
    for _ in range(3):
        with pytest.raises(Refused), allowance.parsing("ann"):
            raise Refused("HOOP209", "No such column.")
    with pytest.raises(Refused) as refused, allowance.parsing("ann"):
        pytest.fail("it was sent to PostgreSQL all the same")
    assert refused.value.code == "HOOP321"
    with allowance.parsing("bob"):
        pass
    clock.now += 3_600 + 60
    with allowance.parsing("ann"):
        pass


def test_a_parse_that_failed_for_another_reason_costs_nothing(allowance):
    for code in ("HOOP501", "HOOP505", "HOOP216"):
        with pytest.raises(Refused), allowance.parsing("ann"):
            raise Refused(code, "Not its fault.")
    assert left(allowance)["parse_errors"] == 3


def test_a_sieve_lets_through_what_reaches_the_minimum_in_every_count():
    sieve = Sieve((0, 2), 5)
    rows = [("5", "x", "7"), ("4", "x", "9"), ("9", "x", "4"), (None, "x", "9"), ("many", "x", "9"), ("-9", "x", "9")]
    assert [row for row in rows if sieve(row)] == [("5", "x", "7")]
    assert sieve.withheld == 5


def test_what_a_sieve_says_is_the_same_whether_or_not_it_withheld():
    one, other = Sieve((0,), 5), Sieve((0,), 5)
    one(("1",))
    other(("9",))
    assert one.notice == other.notice
    assert "1" not in one.notice


def test_there_is_a_sieve_only_where_a_minimum_meets_groups_of_people():
    counted = Groups(counted=(0,))
    assert sieve_for(analysis(groups=counted), allowed()) is None
    assert sieve_for(analysis(), allowed(min_group=5)) is None
    assert sieve_for(analysis(groups=counted), allowed(min_group=5)).least == 5


def test_a_decision_that_forgot_to_deny_is_refused_here():
    with pytest.raises(Refused) as refused:
        sieve_for(analysis(groups=Groups(uncounted="x")), allowed(min_group=5))
    assert refused.value.code == "HOOP313"
    with pytest.raises(ValueError, match="count"):
        Sieve((), 5)
