import hashlib
import json

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoop_mcp.errors import NotCanonical
from hoop_mcp.journal.entry import GENESIS, OWN_KEYS, Moment, PartNote, canonical, compose, leaf_hash, parse
from hoop_mcp.terms import Event, EventKind

EXACT = 2**53 - 1
ascii_keys = st.text(st.characters(max_codepoint=127), max_size=12)
atoms = st.none() | st.booleans() | st.integers(-EXACT, EXACT) | st.text()
values = st.recursive(atoms, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_keys, inner, max_size=4))
objects = st.dictionaries(ascii_keys, values, max_size=6)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding
moment = Moment(1_795_500_000_000_000, 17, "b007")


def body(clear=None, *, seq=0, prev=GENESIS, parts=None, **event):
    made = Event(EventKind.INTENT, {"tool": "query"} if clear is None else clear, **event)
    return compose(made, seq=seq, prev=prev, moment=moment, parts=parts or {})


@patient
@given(objects)
def test_the_bytes_are_those_of_rfc_8785(value):
    assert canonical(value) == rfc8785.dumps(value)


@patient
@given(objects)
def test_what_the_quick_check_passes_the_careful_one_passes_too(value):
    from hoop_mcp.journal.entry import _check, _plain

    if _plain(value, 0):
        _check(value, "body", 0)


def test_escapes_are_those_of_rfc_8785_for_every_character_below_two_thousand():
    value = {"t": "".join(map(chr, range(0x2100)))}
    assert canonical(value) == rfc8785.dumps(value)


deep = {"a": 1}
for _ in range(40):
    deep = {"a": deep}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": 1.0}, "body.a: a float"),
        ({"a": [1, {"b": float("nan")}]}, r"body.a\[1\].b: a float"),
        ({"a": 2**53}, "body.a: an integer beyond"),
        ({"a": [-(2**53)]}, r"body.a\[0\]: an integer beyond"),
        ({"grüße": 1}, "a key is not ASCII"),
        ({"a": {"\U0001f600": 1}}, "body.a: a key is not ASCII"),
        ({"a": {1: 1}}, "body.a: a key is not ASCII"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"a": b"bytes"}, "body.a: a bytes"),
        ({"a": {1, 2}}, "body.a: a set"),
        (deep, "nested too deeply"),
    ],
)
def test_what_has_no_undisputed_bytes_is_refused_and_its_place_named(value, place):
    with pytest.raises(NotCanonical, match=place):
        canonical(value)


def test_a_refusal_never_quotes_the_value():
    for value in ({"a": 1234567.25}, {"a": "ana@x.example\ud800"}, {"a": b"ana@x.example"}):
        with pytest.raises(NotCanonical) as refused:
            canonical(value)
        assert "ana" not in str(refused.value)
        assert "1234567" not in str(refused.value)


def test_the_leaf_is_the_rfc_6962_leaf_hash_of_the_body():
    made = body()
    assert leaf_hash(made) == hashlib.sha256(b"\x00" + made).digest()
    assert parse(made).leaf == leaf_hash(made).hex()


def test_an_entry_reads_back_as_what_was_composed():
    note = PartNote("sql.2026-W47.aa", "1" * 64, "2" * 64, 5)
    made = body(
        {"tool": "query", "decision": "allow"}, seq=3, prev="a" * 64, parts={"sql": note}, call="c", session="s"
    )
    entry = parse(made)
    assert (entry.seq, entry.prev, entry.ts, entry.kind) == (3, "a" * 64, moment.ts, "intent")
    assert (entry.call, entry.session, entry.decision) == ("c", "s", "allow")
    assert entry.parts == {"sql": note}
    assert entry.body["tool"] == "query"


@pytest.mark.parametrize("key", sorted(OWN_KEYS))
def test_a_clear_part_cannot_speak_for_the_journal(key):
    with pytest.raises(NotCanonical, match=key):
        body({key: "mine"})


def test_bytes_that_say_the_same_in_another_way_are_not_an_entry():
    made = body({"a": "é", "n": 1})
    assert parse(made)
    others = [
        made.replace(b'"n":1', b'"n": 1'),
        made.replace(b'"n":1', b'"n":1,"n":1'),
        made.replace(b'"n":1', b'"n":1.0'),
        made.replace("é".encode(), b"\\u00e9"),
        made + b"\n",
        json.dumps(json.loads(made)).encode(),
    ]
    for other in others:
        assert json.loads(other) == json.loads(made)
        with pytest.raises(NotCanonical):
            parse(other)


@pytest.mark.parametrize(
    "change",
    [
        *({"v": 2}, {"seq": "0"}, {"seq": True}, {"prev": "A" * 64}, {"prev": "0" * 63}, {"kind": 7}, {"parts": []}),
        *({"parts": {"sql": {"k": "x", "ct": "0" * 64, "kc": "0" * 64}}}, {"ts": None}, {"session": 1}),
    ],
)
def test_a_body_without_the_journals_own_keys_in_their_types_is_not_an_entry(change):
    with pytest.raises(NotCanonical):
        parse(canonical({**json.loads(body()), **change}))
