"""Who says what a statement is: the offline reader, PostgreSQL's tree, and, where it is installed, PostgreSQL's grammar.

The tree decides; the offline reader must agree with it on every statement that gets through. pglast is GPL: a witness
for whoever has it, never a dependency.
"""

from __future__ import annotations

import pytest

from hoop_mcp.sql import reader
from hoop_mcp.sql.requests import read_request
from hoop_mcp.terms import Explain, RelationName, Verb

from .test_corpora import answered


def _read(row):
    request = read_request(row["sql"])
    return request.statement if isinstance(request, Explain) else request


def _analysed(rows, answers):
    return [row for row in rows if answers[row["id"]]["effect"] != "deny" and not row["sql"].startswith("SHOW")]


def test_the_reader_and_the_tree_name_the_same_relations_and_both_see_a_read(rows, answers):
    analysed = _analysed(rows, answers)
    for row in analysed:
        statement = _read(row)
        named = {tuple(each.split(".", 1)) for each in answers[row["id"]]["relations"]}
        seen = {(each.schema, each.name) for each in statement.relations}
        assert {name for _, name in seen} == {name for _, name in named}, row["sql"]
        assert {each for each in seen if each[0] is not None} <= named, row["sql"]
        assert statement.verb is Verb.READ
        assert statement.locks == (row["kind"] == "read_lock")
    assert len(analysed) > 250


@pytest.mark.parametrize("sees", [[], [RelationName(None, "customers")], [RelationName("hr", "employees")]])
def test_a_witness_that_sees_other_relations_stops_the_statement(gauntlet_here, monkeypatch, sees):
    for variable, value in gauntlet_here.environment.items():
        monkeypatch.setenv(variable, value)
    rows = [{"id": 1, "sql": "SELECT id FROM products"}, {"id": 2, "sql": "SELECT id FROM app.products p"}]
    assert {answer["effect"] for _, answer in gauntlet_here.run(answered(rows))} == {"allow"}
    monkeypatch.setattr(reader, "_relations", lambda _root: sees)
    assert {answer["code"] for _, answer in gauntlet_here.run(answered(rows))} == {"HOOP210"}


def test_the_grammar_of_postgresql_names_the_same_relations(rows, answers):
    pglast = pytest.importorskip("pglast", reason="pglast is GPL and no dependency: a witness for who has it")
    from pglast.visitors import Visitor

    class Names(Visitor):
        def __init__(self):
            super().__init__()
            self.tables, self.ctes = set(), set()

        def visit_RangeVar(self, _ancestors, node):  # noqa: N802 - the name pglast looks for
            self.tables.add((node.schemaname, node.relname))

        def visit_CommonTableExpr(self, _ancestors, node):  # noqa: N802 - as above
            self.ctes.add(node.ctename)

    for row in _analysed(rows, answers):
        (tree,) = pglast.parse_sql(row["sql"])
        names = Names()
        names(tree)
        named = {tuple(each.split(".", 1)) for each in answers[row["id"]]["relations"]}
        tables = {name for schema, name in names.tables if schema is not None or name not in names.ctes}
        assert {name for _, name in named} == tables, row["sql"]
