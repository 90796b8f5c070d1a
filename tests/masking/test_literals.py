from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoop_mcp.masking.literals import json_leaves, parse_array
from hoop_mcp.masking.values import decoder


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("{}", []),
        ("{a,b}", ["a", "b"]),
        ("{NULL,null,NULLS}", [None, None, "NULLS"]),
        ('{"NULL",""}', ["NULL", ""]),  # quoted, it is a text
        (r'{"a\"b","c\\d","e,f","{g}"}', ['a"b', "c\\d", "e,f", "{g}"]),
        ("{{1,2},{3,4}}", [["1", "2"], ["3", "4"]]),
        ("[2:3]={a,b}", ["a", "b"]),
        ("[-1:0][1:1]={{a},{b}}", [["a"], ["b"]]),
        ('{"line\nbreak"," x "}', ["line\nbreak", " x "]),
    ],
)
def test_array_literals_are_read_as_postgresql_prints_them(literal, expected):
    assert parse_array(literal) == expected


def test_an_array_of_boxes_is_cut_at_semicolons():
    assert parse_array("{(1,1),(0,0);(2,2),(0,0)}", ";") == ["(1,1),(0,0)", "(2,2),(0,0)"]


@pytest.mark.parametrize(
    "broken", ["", "a", "{", "{a", '{"a', "{a,}", "{,a}", '{"a"b}', "{a}}", "{a}x", "{{{{{{{a}}}}}}}"]
)
def test_what_is_no_array_literal_is_refused_without_being_quoted(broken):
    with pytest.raises(ValueError) as raised:
        parse_array(broken)
    assert broken not in str(raised.value) or len(broken) < 2


def printed(nested):
    """As PostgreSQL's array_out writes it, quoting everything."""
    if nested is None:
        return "NULL"
    if isinstance(nested, list):
        return "{" + ",".join(map(printed, nested)) + "}"
    return '"' + nested.replace("\\", "\\\\").replace('"', '\\"') + '"'


ROWS = st.lists(st.lists(st.none() | st.text(), min_size=1, max_size=4), min_size=1, max_size=4)


@given(ROWS)
def test_any_array_comes_back_from_its_literal(rows):
    assert parse_array(printed(rows)) == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def strings_of(value):
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [s for item in value for s in strings_of(item)]
    if isinstance(value, dict):
        return [s for key, item in value.items() for s in (key, *strings_of(item))]
    return []


@given(JSON, st.booleans())
def test_every_string_of_a_document_is_a_leaf_at_its_place(value, ascii_only):
    document = json.dumps(value, ensure_ascii=ascii_only)
    if any(0xD800 <= ord(char) < 0xE000 for text in strings_of(value) for char in text):
        with pytest.raises(ValueError):  # half a surrogate pair: withheld as unreadable
            json_leaves(document)
        return
    leaves = json_leaves(document)
    assert sorted(leaf.text for leaf in leaves if not leaf.is_number) == sorted(strings_of(value))
    for leaf in leaves:
        raw = document[leaf.start : leaf.end]
        assert leaf.text == (raw if leaf.is_number else json.loads(f'"{raw}"'))


def test_a_leaf_knows_the_key_above_it():
    found = {leaf.text: leaf.key for leaf in json_leaves('{"a": {"b": ["x", {"c": 1}]}, "d": "y"}')}
    assert found == {"a": "", "b": "a", "x": "b", "c": "b", "1": "c", "d": "", "y": "d"}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int4", "-7", b"-7"),
        ("float8", "0.1", b"0.1"),
        ("float8", "NaN", b'"NaN"'),
        ("float4", "-Infinity", b'"-Infinity"'),
        ("bool", "t", b"true"),
        ("jsonb", '{"n": 12345678901234567890123}', b'{"n": 12345678901234567890123}'),
        ("jsonb", '{"n": 1e400}', b'{"n": 1e400}'),
        ("_int4", "{1,NULL,3}", b"[1,null,3]"),
        ("_bool", "{t,f}", b"[true,false]"),
        ("_numeric", "{1.10}", b'["1.10"]'),
        ("_jsonb", r'{"{\"a\": 1.50}"}', b'[{"a": 1.50}]'),
    ],
)
def test_printed_text_becomes_the_json_the_contract_promises(kind, text, expected):
    assert orjson.dumps(decoder(kind)(text)) == expected


@pytest.mark.parametrize("kind", ["int8", "numeric", "text", "date", "uuid", "bytea", "mood"])
def test_all_other_types_stay_text(kind):
    assert decoder(kind) is None


def test_a_document_that_is_no_json_is_never_embedded():
    with pytest.raises(ValueError):
        decoder("json")('1], "injected": [2')
