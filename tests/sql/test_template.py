"""The clear text of the journal: whatever an agent can make up is not in it."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot.dialects.postgres import Postgres

from hoop_mcp.errors import Refused
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.template import fingerprint, template

KNOWN = frozenset({"public", "people", "id", "email", "created_at", "lower", "text"})
SECRET = "zebra"
KEYWORDS = frozenset(word for phrase in Postgres.Tokenizer.KEYWORDS for word in phrase.upper().split())


def clear(sql, known=KNOWN):
    return template(read(sql).tokens, known)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("select id from people", "SELECT id FROM people"),
        ("SELECT  id\n FROM people -- zebra", "SELECT id FROM people"),
        ("SELECT /* zebra /* zebra */ zebra */ id FROM people", "SELECT id FROM people"),
        (
            "SELECT id AS zebra FROM people AS quagga WHERE quagga.id = 7",
            "SELECT id AS a1 FROM people AS a2 WHERE a2.id = ?",
        ),
        ("SELECT zebra.id, zebra.id FROM people zebra", "SELECT a1.id, a1.id FROM people a1"),
        ('SELECT "Zebra", "people", "PEOPLE" FROM people', "SELECT a1, people, a2 FROM people"),
        ("SELECT lower(email) FROM public.people", "SELECT lower(email) FROM public.people"),
        ("WITH zebra AS (SELECT 1) SELECT * FROM zebra", "WITH a1 AS (SELECT ?) SELECT * FROM a1"),
        ("SELECT 'zebra', E'zeb\\'ra', $$zebra$$, $zebra$ra$zebra$", "SELECT ?, ?, ?, ?"),
        ("SELECT U&'zebra', N'zebra', B'101', X'1F', '', 'it''s zebra'", "SELECT ?, ?, ?, ?, ?, ?"),
        ("SELECT 1, 1.5, 1e9, -7", "SELECT ?, ?, ?, - ?"),
        ("SELECT $1, $23 FROM people", "SELECT $1, $23 FROM people"),
        ("SELECT id FROM people WHERE email IN ('a', 'b')", "SELECT id FROM people WHERE email IN(?, ?)"),
        ("SELECT id::text, 'zebra'::zebra FROM people", "SELECT id::text, ?::a1 FROM people"),
    ],
)
def test_the_template_of_a_statement(sql, text):
    def blank(shown):
        return re.sub(r"\s*\(\s*", "(", shown)  # where the blank before a bracket stands is nobody's business

    assert blank(clear(sql)) == blank(text)


def test_other_literals_make_no_other_template():
    one, other = clear("SELECT id FROM people WHERE id = 1"), clear("SELECT id FROM people WHERE id = 22222")
    assert one == other
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(clear("SELECT email FROM people WHERE id = 1"))


LETTERS = st.text(alphabet=string.ascii_lowercase, min_size=6, max_size=20).map(lambda word: "q" + word + "x7")
PIECES = [
    "'{}'",
    "E'{}'",
    "E'\\'{}'",
    "$${}$$",
    "$q${}$q$",
    "U&'{}'",
    "'x' '{}'",
    '1 AS "{}"',
    "1 AS {}",
    '1 AS "a {} b"',
    "(SELECT id AS {0} FROM people AS {0})",
    "id /* {} */",
    "id -- {}\n",
    "'1'::{}",
    "{}(1)",
    "f({} => 1)",
    "id, {}.id",
    "CAST('{}' AS text)",
    "interval '{}'",
    "'{}' LIKE '%{}%' ESCAPE 'x'",
    "id OPERATOR({}.=) 1",
    'email COLLATE "{}"',
    "@{}",
    "${}$",
    ":{}",
    "{{{}}}",
    "[{}]",
    "ARRAY['{}']",
    "ROW('{}').{}",
    "x'{}'",
    "date '{}'",
    "1{}",
    "'{}",
]


@given(piece=st.sampled_from(PIECES), word=LETTERS)
@settings(max_examples=400, deadline=None)
def test_no_word_the_agent_made_up_is_ever_in_clear(piece, word):
    try:
        shown = clear(f"SELECT {piece.format(word, word)} FROM people")
    except Refused:
        return
    assert word not in shown.lower()


@given(
    digits=st.integers(min_value=10_000, max_value=10**19).map(str),
    piece=st.sampled_from(["{}", "'{}'", "${}", "1.{}", "id + {}", "{}e1", "$$ {} $$", "a{}", "B'{}'", "_{}"]),
)
@settings(max_examples=300, deadline=None)
def test_no_number_the_agent_made_up_is_ever_in_clear(digits, piece):
    try:
        shown = clear(f"SELECT {piece.format(digits)} FROM people")
    except Refused:
        return
    assert digits not in shown


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=300, deadline=None)
def test_every_word_is_a_keyword_a_known_name_or_numbered(text):
    try:
        shown = clear(f"SELECT {text} FROM people")
    except Refused:
        return
    for word in re.findall(r"\w+", shown):
        assert word in KNOWN or word in KEYWORDS or re.fullmatch(r"[a$]\d+|\d{1,3}", word), (text, shown)


def test_knowing_every_word_would_let_them_through():
    everything = type("Everything", (), {"__contains__": lambda _self, _word: True})()
    assert SECRET in clear(f"SELECT id AS {SECRET} FROM people", everything)
