"""What the offline reader is given where it does not know a word: never what PostgreSQL is given."""

from __future__ import annotations

import pytest

from hoop_mcp.errors import Refused
from hoop_mcp.sql.reader import read
from hoop_mcp.terms import Verb

OPERATORS = [
    "<#>", "&<|", "|&>", "<<|", "|>>", "~=", "~<~", "~<=~",
    "~>~", "~>=~", "<%", "%>", "<<%", "%>>", "<<->", "<~>",
    "*=", "*<>", "?#", "?||", "##", "<^", ">^", "===",
]  # fmt: skip


def names(sql):
    return {relation.name for relation in read(sql).relations}


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_of_any_name_is_read_between_two_values(operator):
    assert names(f"SELECT a {operator} b, a{operator}b FROM t WHERE a {operator} 'x'") == {"t"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT @-@ b, # b FROM t",
        "SELECT a <~>-1 FROM t /* <~> */ -- <~>",
        "SELECT '<~>' <~> \"<~>\" FROM t",
        "SELECT xmlpi(name php, 'x') FROM t",
        "SELECT xmlparse(content a) IS NOT DOCUMENT FROM t",
        "SELECT xmlserialize(document a AS text) FROM t",
        "SELECT xmlroot(a, version '1.0', standalone yes) FROM t",
    ],
)
def test_signs_before_a_value_and_the_words_of_xml_are_read(sql):
    statement = read(sql)
    assert names(sql) == {"t"}
    assert statement.verb is Verb.READ
    assert statement.sql == sql


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("DELETE FROM t WHERE a <~> 1", Verb.WRITE),
        ("WITH d AS (DELETE FROM t WHERE a <~> 1 RETURNING *) SELECT * FROM d", Verb.WRITE),
        ("SELECT a <~> (SELECT b FROM u) FROM t", Verb.READ),
    ],
)
def test_a_respelled_statement_keeps_its_verb_and_its_relations(sql, verb):
    assert read(sql).verb is verb
    assert "t" in names(sql)


@pytest.mark.parametrize(
    ("sql", "code"), [("SELECT 1 <~> 2; DELETE FROM t", "HOOP202"), ("SELECT <~> FROM WHERE", "HOOP203")]
)
def test_what_is_several_or_no_statement_stays_so(sql, code):
    with pytest.raises(Refused) as refused:
        read(sql)
    assert refused.value.code == code
