"""Labelled statements that are known to beat readers of SQL: never more permissive than the label, else exact.

``corpus`` and ``redteam`` came with their labels; ``own`` was written beside the tracer, several for each of its rules.
A row that is answered otherwise than its label says so itself, in ``ours``, with the reason in ``why_ours``.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from hoop_mcp.policy.assessment import Asking
from hoop_mcp.policy.batch import answer_line
from hoop_mcp.sql.expressions import ExpressionTracer
from hoop_mcp.sql.relations import RelationBuilder
from hoop_mcp.sql.tracer import Tracer
from hoop_mcp.wiring.examining import examine
from hoop_mcp.wiring.judging import open_judge

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("gauntlet_score", HERE / "score.py")
score = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(score)

FIELDS = {"id", "effect", "masked", "columns", "relations", "behind", "probes", "rules", "because", "code"}


@pytest.fixture(scope="session")
def verdicts(gauntlet, rows, answers):
    return [score.judge(row, answers[row["id"]]) for row in rows]


def told(verdicts):
    return "\n".join(
        [score.table(verdicts), *(str(each) for each in verdicts if each.word != "exact" and not each.told)]
    )


def test_no_statement_is_answered_more_permissively_than_its_label(verdicts):
    print(score.table(verdicts))
    assert len([each for each in verdicts if not each.row["id"].startswith("own-")]) == 288
    assert [str(each) for each in verdicts if each.word == "looser"] == [], told(verdicts)


def test_every_answer_is_exact_or_says_in_the_data_why_it_is_not(gauntlet, verdicts):
    lacking = gauntlet.lacks
    without = [each for each in verdicts if not each.told and lacking.isdisjoint(each.row.get("needs", ()))]
    assert [str(each) for each in without] == [], told(verdicts)


def test_a_reason_stands_only_where_the_label_and_the_answer_differ(verdicts):
    assert [each.row["id"] for each in verdicts if "ours" in each.row and each.word == "exact"] == []


def test_writes_are_refused_until_they_are_analysed(verdicts):
    assert {each.answer["effect"] for each in verdicts if each.row["kind"] == "write"} == {"deny"}


def test_an_answer_has_every_field_and_a_code_unless_it_is_a_yes(answers):
    for answer in answers.values():
        assert set(answer) == FIELDS
        assert (answer["code"] is None) == (answer["effect"] == "allow"), answer
        assert answer["because"]


def test_what_a_statement_names_is_what_its_label_says(rows, answers):
    compared = 0
    for row in rows:
        answer = answers[row["id"]]
        if row.get("relations") is not None and answer["effect"] != "deny" and row["kind"] == "read":
            assert set(answer["relations"]) == set(row["relations"]), row["sql"]
            compared += 1
    assert compared > 100


def test_lines_are_answered_in_order_whatever_stands_in_them(gauntlet_here):
    lines = [b"nothing\n", b'{"id": 7, "sql": 1}\n', b'{"id": "a", "sql": "SELECT 1", "more": [1]}\n', b"[]\n", b"\n"]
    ended = gauntlet_here.explain(lines)
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(each["id"], each["effect"]) for each in answers] == [
        (None, "deny"),
        (7, "deny"),
        ("a", "allow"),
        (None, "deny"),
        (None, "deny"),
    ]
    assert ended.returncode == 0
    assert gauntlet_here.explain([b"nothing\n"]).returncode == 2


async def answered(rows):
    judge = await open_judge(HERE / "hoop.yaml")
    asking = Asking(role="analyst", purpose=None, database="gauntlet")
    try:
        lines = [(row, json.dumps({"id": row["id"], "sql": row["sql"]}).encode()) for row in rows]
        return [(row, (await answer_line(line, judge, asking)).assessment.as_json(row["id"])) for row, line in lines]
    finally:
        await judge.aclose()


def nothing(*_args, **_named):
    return None


HOLES = {
    "nothing steers": ("LIKE", ExpressionTracer, "steer", nothing),
    "sorting and grouping is no probe": ("(ORDER|GROUP) BY", ExpressionTracer, "order", nothing),
    "IS NULL of anything is harmless": ("IS (NOT )?NULL", ExpressionTracer, "_null_test", lambda *_: frozenset()),
    "any count clears": (r"count\(\w", ExpressionTracer, "_count", lambda *_: frozenset()),
    "subscripts are not visited": (
        r"\[.*\(.*\]",
        ExpressionTracer,
        "_subscript",
        lambda self, item, scope: self.flow(item["refexpr"], scope),
    ),
    "a lookup may be anything": ("WHERE", Tracer, "_lookup", lambda *_: frozenset()),
    "what a recursive query grows is no probe": ("RECURSIVE", Tracer, "_grown", nothing),
    "columns of tables show nothing": ("SELECT (id, )?[a-z_]+ FROM", RelationBuilder, "_own", None),
    "views are not looked behind": (r"reporting\.", RelationBuilder, "_derived", None),
}
"""What is turned off, and which statements are asked then: those the rule is about."""


@pytest.mark.parametrize("hole", HOLES)
def test_with_one_rule_turned_off_something_is_answered_too_permissively(gauntlet_here, rows, monkeypatch, hole):
    about, owner, name, without = HOLES[hole]
    if without is None:
        standing = getattr(owner, name)

        def without(self, *args):
            from dataclasses import replace

            made = standing(self, *args)
            if name == "_own":
                return replace(made, sources=frozenset())
            return replace(
                made, columns={number: replace(each, sources=frozenset()) for number, each in made.columns.items()}
            )

    for variable, value in gauntlet_here.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(owner, name, without)
    read = [row for row in rows if row["kind"] == "read" and re.search(about, row["sql"])][:40]
    looser = [
        row["id"] for row, answer in gauntlet_here.run(answered(read)) if score.judge(row, answer).word == "looser"
    ]
    assert looser


def test_the_logins_of_the_schema_are_what_the_policy_owes_them(gauntlet, monkeypatch):
    for variable, value in gauntlet.environment.items():
        monkeypatch.setenv(variable, value)

    async def logins():
        return [check async for check in examine(HERE / "hoop.yaml") if check.name.startswith(("database", "login"))]

    checks = gauntlet.run(logins())
    assert [(check.state, check.says) for check in checks if check.state != "ok"] == []
    assert len(checks) == 3


def test_the_docs_list_every_answer_that_differs(rows):
    docs = (HERE.parents[1] / "docs" / "gauntlet.md").read_text("utf-8")
    for row in rows:
        if "ours" in row and not row["id"].startswith("own-"):
            assert f"| `{row['id']}` | {row['ours']['decision']} for {row['decision']} | {row['why_ours']} |" in docs
    judged = [row for row in rows if row["kind"] != "write"]
    own = sum(row["id"].startswith("own-") for row in judged)
    differ = sum("ours" in row for row in judged)
    assert f"everything but writes | {len(judged) - own - differ} | {differ} | 0 |" in docs
    assert f"| own, everything but writes | {own} | 0 | 0 |" in docs
