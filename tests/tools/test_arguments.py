"""Arguments to an Ask, or a sentence that says what the argument must be."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoop_mcp.errors import Refused
from hoop_mcp.terms import ListDatabases, RunSql, SearchSchema, WhoAmI
from hoop_mcp.tools import NOT_YET, TOOLS, read_call

MARK = "ingrid@sorensen.example"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def refusal(tool, **arguments):
    with pytest.raises(Refused) as refused:
        read_call(tool, arguments)
    assert refused.value.code == "HOOP105"
    assert MARK not in f"{refused.value} {refused.value.instead}"
    return f"{refused.value.reason} {refused.value.instead}"


def test_each_tool_makes_its_ask():
    assert read_call("list_databases", {}) == ListDatabases()
    assert read_call("whoami", {}) == WhoAmI()
    assert read_call("search_schema", {"pattern": "mail", "kind": "column"}) == SearchSchema("mail", "column")
    assert read_call("explain", {"sql": "select 1", "role": "r"}) == RunSql("explain", "select 1", role="r")
    asked = read_call("query", {"sql": "select $1", "params": [1], "max_rows": 5, "reason": "ticket 7"})
    assert asked == RunSql("query", "select $1", (1,), reason="ticket 7", max_rows=5)


def test_statement_text_is_passed_on_byte_for_byte():
    sql = "  SELECT\t'Søren' -- \n "
    assert read_call("query", {"sql": sql}).sql == sql


@pytest.mark.parametrize("large", [2**53, -(2**53), 1.5e300, 10**30, float("inf"), float("nan")])
def test_a_number_that_json_cannot_carry_exactly_must_be_sent_as_text(large):
    assert "as text" in refusal("query", sql="select $1", params=[large])
    assert "as text" in refusal("query", sql="select $1", params=[{"deep": [large]}])
    assert read_call("query", {"sql": "s", "params": [2**53 - 1, str(10**30)]}).params == (2**53 - 1, str(10**30))


def test_a_list_inside_a_string_is_taken_as_the_list_and_nothing_else_is():
    assert read_call("query", {"sql": "s", "params": '[1, "two"]'}).params == (1, "two")
    for wrong in ('{"a": 1}', "1", MARK, "[" * 100_000, 7, {"a": MARK}, True):
        assert "list" in refusal("query", sql="s", params=wrong)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "sql is missing"),
        ({"sql": None}, "sql is missing"),
        ({"sql": "s", "reason": " \n"}, "empty"),
        ({"sql": [MARK]}, "must be text"),
        ({"sql": "s", "max_rows": "10"}, "whole number"),
        ({"sql": "s", "max_rows": True}, "whole number"),
        ({"sql": "s", "max_rows": 0}, "whole number"),
        ({"sql": "s", "max_rows": 1.0}, "whole number"),
        ({"sql": "s", "reason": MARK * 200}, "longer"),
        ({"sql": "s", "role": "r\0"}, "NUL"),
        ({"sql": "s", "params": [{"\0": 1}]}, "NUL"),
        ({"sql": "s", "params": ["\ud800"]}, "half a character"),
        ({"sql": "s", "params": [[[[[]]]]] * 70_000}, "more than"),
        ({"sql": "s", MARK: 1}, "It takes: sql, params"),
        ({"sql": "s", "maxrows": None}, "It takes: sql, params"),
    ],
)
def test_what_is_wrong_is_said_without_what_was_sent(arguments, word):
    assert word in refusal("query", **arguments)


def test_nesting_is_bounded_without_recursion():
    deep = []
    for _ in range(50_000):
        deep = [deep]
    assert "nested" in refusal("query", sql="s", params=deep)


def test_a_choice_lists_its_choices():
    assert "table, view, column" in refusal("search_schema", kind=MARK)


@pytest.mark.parametrize("name", NOT_YET)
def test_a_tool_that_comes_later_says_so(name):
    with pytest.raises(Refused) as refused:
        read_call(name, {})
    assert refused.value.code == "HOOP107"


@given(st.sampled_from([tool.name for tool in TOOLS]), st.dictionaries(st.text(max_size=8), JSON, max_size=4), JSON)
def test_any_json_is_an_ask_or_a_refusal_and_never_another_exception(name, arguments, value):
    with suppress(Refused):
        read_call(name, {**arguments, "sql": value, "table": value})
    with suppress(Refused):
        read_call("query", {"sql": "s", "params": value, "max_rows": value})


def test_the_schema_of_every_argument_agrees_with_its_check():
    good = {"string": "table", "array": [1], "integer": 3}
    for tool in TOOLS:
        schema = tool.input_schema()
        assert json.loads(json.dumps(schema)) == schema
        everything = {name: good[shape["type"]] for name, shape in schema["properties"].items()}
        read_call(tool.name, everything)
        for name in schema.get("required", []):
            refusal(tool.name, **{key: value for key, value in everything.items() if key != name})
