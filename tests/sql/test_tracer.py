"""The tracer against every server: statements with what a person says of them, in tests/golden/analyse."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hoop_mcp.adapters.postgres_session import Session
from hoop_mcp.errors import Refused
from hoop_mcp.sql import analyse as analyse_module
from hoop_mcp.sql import tracer as tracer_module
from hoop_mcp.sql.analyse import analyse
from hoop_mcp.sql.expressions import ExpressionTracer
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.resolved import Login
from hoop_mcp.sql.tracer import Tracer

GOLDEN = Path(__file__).parents[1] / "golden" / "analyse"
FILES = sorted(GOLDEN.glob("*.yaml"))
CASES = [
    pytest.param(case, id=f"{path.stem}-{number}")
    for path in FILES
    for number, case in enumerate(yaml.safe_load(path.read_text("utf-8")), start=1)
]


def short(name):
    return name.removeprefix("lab.")


def told(analysis):
    return {
        "shows": [sorted(short(str(ref)) for ref in column.sources) for column in analysis.columns],
        "probes": sorted(short(str(ref)) for ref in analysis.probes),
        "lookups": sorted(short(str(ref)) for ref in analysis.lookups),
        "over": sorted(map(short, analysis.relations)),
        "behind": sorted(map(short, analysis.behind)),
    } | ({"locks": True} if analysis.locks else {})


@pytest.mark.parametrize("case", CASES)
def test_a_statement_is_understood_as_a_person_understands_it(lab, case):
    expected = {"probes": [], "lookups": [], "over": ["people"], "behind": []} | case
    sql, codes = expected.pop("sql"), expected.pop("refused", None)
    if codes is not None:
        assert lab.refusal(sql) in codes, sql
        return
    expected["shows"] = [sorted(sources) for sources in expected["shows"]]
    try:
        found = told(lab.trace(sql))
    except Refused as refused:
        pytest.fail(f"{refused}: {sql}")
    assert found == expected, sql


def test_there_are_enough_statements_and_none_twice():
    statements = [case.values[0]["sql"] for case in CASES]
    assert len(statements) == len(set(statements)) >= 120


# -- teeth: a tracer that forgets one rule is caught by some statement above


def weaker(target, name, replacement):
    return pytest.param(target, name, replacement, id=f"{target.__name__}.{name}")


def shows_only(method):
    """The method, with whatever it steers forgotten."""

    def quiet(self, *arguments, **named):
        before = set(self.decisive), set(self.keys)
        flow = method(self, *arguments, **named)
        self.decisive, self.keys = before
        return flow

    return quiet


WEAKER = [
    *(
        weaker(ExpressionTracer, name, shows_only(getattr(ExpressionTracer, name)))
        for name in (
            "_null_test",
            "_case",
            "_coalesce",
            "_boolean",
            "_cast",
            "_subscript",
            "_sublink",
            "_aggregate",
            "_collected",
            "_count",
            "_window_function",
            "_call",
            "_arguments",
        )
    ),
    *(
        weaker(Tracer, name, shows_only(getattr(Tracer, name)))
        for name in ("_set_operation", "_coerced", "_grown", "_jointree", "_conjuncts", "_entry")
    ),
    weaker(ExpressionTracer, "order", lambda _self, _flow: None),
    weaker(ExpressionTracer, "_conditions_met", lambda *_: True),
    weaker(ExpressionTracer, "_cannot_raise", lambda *_: True),
    weaker(ExpressionTracer, "_with_case_test", lambda self, _test, expression, scope: self.flow(expression, scope)),
    weaker(Tracer, "is_bare_column", lambda *_: True),
    weaker(Tracer, "bare_column", Tracer._own_column),
    weaker(Tracer, "window_frame", lambda *_: frozenset()),
    weaker(Tracer, "_passed_on", lambda *_: True),
    weaker(Tracer, "field", lambda *_: frozenset()),
    weaker(tracer_module, "_few_constants", lambda *_, **__: True),
    weaker(tracer_module, "_LOOKUP_CONSTANTS", 1_000),
    weaker(tracer_module, "_whole_row", lambda _relation: frozenset()),
    weaker(tracer_module, "_ROUNDS", 4),
    weaker(analyse_module, "check_growth", lambda *_: None),
    weaker(analyse_module, "_everything_is_vouched", lambda *_: None),
]


@pytest.fixture(scope="module")
def resolved(lab):
    """Every statement that PostgreSQL could resolve, with what is expected of it."""

    async def resolve(sql):
        statement = read(sql)
        async with lab.database.lease(Login.FULL) as lease:
            lease._session.forget(sql)  # a statement traced before has let its trees go
            return await lease.resolve(statement, 5_000)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "large", False)  # what is large is traced at once, and its trees are let go
        for (case,) in (case.values for case in CASES):
            try:
                found.append((case, lab.run(resolve(case["sql"]))))
            except Refused:
                continue
    return found


def disagreeing(resolved):
    """The statements whose trace is not what a person expects."""
    wrong = []
    for case, one in resolved:
        expected = {"probes": [], "lookups": [], "over": ["people"], "behind": []} | case
        sql, codes = expected.pop("sql"), expected.pop("refused", None)
        try:
            found = told(analyse(one.statement, one.trees, one.facts, one.columns))
        except Exception as error:
            found = getattr(error, "code", "crash")
        if codes is not None:
            wrong += [sql] if isinstance(found, dict) or found not in codes else []
            continue
        expected["shows"] = [sorted(sources) for sources in expected["shows"]]
        wrong += [sql] if found != expected else []
    return wrong


def test_the_whole_tracer_agrees_with_every_statement(resolved):
    assert len(resolved) > 250
    assert disagreeing(resolved) == []


@pytest.mark.parametrize(("target", "name", "replacement"), WEAKER)
def test_a_tracer_that_forgets_a_rule_is_caught(resolved, monkeypatch, target, name, replacement):
    monkeypatch.setattr(target, name, replacement)
    assert disagreeing(resolved) != []
