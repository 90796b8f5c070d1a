"""YAML as it is read here: every fault at once, in our words, at its place; nothing hostile gets through."""

import time
from typing import Literal

import pytest
from pydantic import Field

from hoop_mcp.documents import (
    NOT_ENFORCED,
    Count,
    Document,
    Duration,
    Fault,
    Flag,
    Size,
    Slug,
    decode,
    load,
    suggest,
    validate,
)


class Inner(Document):
    kind: tuple[Literal["read", "write"], ...] = Field(min_length=1)
    on: Flag = False


class Outer(Document):
    name: Slug
    country: str = ""
    inner: Inner | None = None
    items: tuple[Inner, ...] = ()
    free: dict[Slug, Count] = Field(default_factory=dict)
    wait: Duration | None = None
    size: Size | None = None


def faults(text):
    return [str(fault) for fault in validate(text, "f.yaml", Outer).faults]


def test_all_faults_of_a_file_are_told_at_once_each_at_its_place():
    text = """\
name: Bad Name
countri: no
inner: {kind: [raed], on: yes}
items:
  - kind: read
  - kidn: [read]
free: {a: 0, B: 1}
wait: 4 hours
size: [1]
name: again
"""
    assert faults(text) == [
        (
            "f.yaml:1:7: name: 'Bad Name' is not a name: start with a-z, then a-z, digits and dashes, "
            "63 characters at most"
        ),
        "f.yaml:2:1: countri: unknown key; did you mean 'country'?",
        "f.yaml:3:16: inner.kind[0]: 'raed' is not known here; did you mean 'read'?",
        "f.yaml:3:27: inner.on: true or false is expected here",
        "f.yaml:5:11: items[0].kind: a list is expected here: [read]",
        "f.yaml:6:5: items[1].kidn: unknown key; did you mean 'kind'?",
        "f.yaml:6:5: items[1].kind: this key is missing",
        "f.yaml:7:11: free.a: a whole number from 1 to 999999999 is expected here",
        "f.yaml:7:14: free.B: 'B' is not a name: start with a-z, then a-z, digits and dashes, 63 characters at most",
        "f.yaml:8:7: wait: a length of time is expected here, such as 500ms, 5s, 15m, 4h or 30d",
        "f.yaml:9:7: size: a size is expected here, such as 500B, 200kB or 1MB",
        "f.yaml:10:1: name: key given twice",
    ]


def test_scalars_are_text_until_a_model_says_otherwise():
    plain, found, _ = load('a: no\nb: 1.10\nc: 0x1F\nd: 2024-01-01\ne: ~\nf: "5"\n', "f.yaml")
    assert not found
    assert plain == {"a": "no", "b": "1.10", "c": "0x1F", "d": "2024-01-01", "e": "~", "f": "5"}


def test_values_get_their_type_and_unit_from_the_model():
    value = validate("name: a\nwait: 4h\nsize: 200kB\nfree: {x: 7}\ninner: {kind: [read], on: true}", "f", Outer).value
    assert value is not None
    assert (value.wait, value.size, value.free) == (14_400_000, 200_000, {"x": 7})
    assert value.inner is not None
    assert value.inner.on is True


HOSTILE = {
    "alias": ("name: &a x\ncountry: *a", "1:7", "anchors"),
    "alias alone": ("name: *a", "1:7", "aliases"),
    "billion laughs": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "1:4", "anchors"),
    "tag": ("name: !!python/object/apply:os.system [ls]", "1:7", "tags"),
    "own tag": ("name: !x y", "1:7", "tags"),
    "merge key": ("<<: {name: x}", "1:1", "merge keys"),
    "second document": ("name: x\n---\nname: y", "2:1", "second document"),
    "directive": ("%YAML 1.1\n---\nname: x", "1:1", "directives"),
    "control character": ("name: a\0b", "1:8", "U+0000"),
    "escape character": ("name: a\x1b[2J", "1:8", "U+001B"),
    "text that runs backwards": ("name: a # \u202e", "1:11", "U+202E"),
    "hidden character": ("name: a\u200bb", "1:8", "U+200B"),
    "two byte order marks": ("\ufeff\ufeffname: x", "1:1", "U+FEFF"),
    "list as key": ("? [a]\n: b", "1:3", "key must be a word"),
    "a list": ("- name", "1:1", "keys with values"),
    "a word": ("name", "1:1", "keys with values"),
    "empty": ("", "1:1", "empty"),
    "only a comment": ("# nothing\n", "1:1", "empty"),
    "key without value": ("name: x\ninner:", "2:7", "a value is missing"),
    "open quote": ('name: "x', "1:9", "quote is opened"),
    "tab": ("inner:\n\tkind: [read]", "2:1", "indent by spaces"),
    "colon in value": ("name: a: b", "1:8", "no value can begin"),
    "open bracket": ("items: [a", "1:10", "']' is missing"),
}


@pytest.mark.parametrize(("text", "place", "what"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_plain_yaml_is_a_fault_at_its_place(text, place, what):
    found = faults(text)
    assert any(fault.startswith(f"f.yaml:{place}: ") and what in fault for fault in found), found


def test_deep_nesting_is_refused_before_it_costs_anything():
    began = time.perf_counter()
    for opening in ("[", "{a: ", "- "):
        assert any("nested deeper" in fault or "cannot be read" in fault for fault in faults(opening * 100_000))
    assert time.perf_counter() - began < 2


def test_size_is_limited_before_anything_is_read():
    assert faults("name: x\n" + "#" * 1_000_001) == ["f.yaml:1:1: the file is larger than 1,000,000 characters"]


def test_too_many_values_are_refused(monkeypatch):
    monkeypatch.setattr("hoop_mcp.documents.reading.MAX_VALUES", 10)
    assert any("more than 10 values" in fault for fault in faults("free: {" + "a: 1, " * 20 + "}"))


def test_bytes_that_are_not_utf8_are_a_fault_at_the_byte():
    assert decode(b"a: b\nc: \xff", "f.yaml") == (None, (Fault("f.yaml", 2, 4, decode_words()),))
    assert decode("ä: ö".encode(), "f.yaml") == ("ä: ö", ())


def decode_words():
    return "this byte is not UTF-8; save the file as UTF-8"


def test_a_key_given_twice_is_told_once_even_when_it_holds_the_same_keys():
    assert faults("name: x\ninner: {kind: [read]}\ninner: {kind: [write]}") == ["f.yaml:3:1: inner: key given twice"]


def test_an_empty_list_is_too_short_but_a_list_of_faulty_entries_is_not_called_empty():
    assert faults("name: x\ninner: {kind: []}") == ["f.yaml:2:15: inner.kind: needs at least 1 entry"]
    assert faults("name: x\ninner: {kind: [raed]}") == [
        "f.yaml:2:16: inner.kind[0]: 'raed' is not known here; did you mean 'read'?"
    ]


def test_scanner_faults_never_quote_the_file():
    for text in ('dsn: "s3cret', "dsn: *s3cret", "dsn: s3cret: x", "dsn: !s3cret x", "dsn: @s3cret"):
        assert not any("s3cret" in fault for fault in faults(text)), text


def test_a_key_that_is_not_enforced_yet_is_a_fault_whatever_its_value():
    from typing import Annotated, Any

    class Later(Document):
        soon: Annotated[Any, NOT_ENFORCED] = None

    assert validate("{}", "f", Later).value is not None
    for value in ("x", "[]", "{a: b}", "false"):
        [fault] = validate(f"soon: {value}", "f", Later).faults
        assert "not enforced yet" in fault.what


def test_a_fault_in_a_missing_part_points_at_what_holds_it():
    locator = validate("name: x\ninner:\n  kind: [read]", "f.yaml", Outer).locator
    assert locator.at(("inner", "kind", 0)) == (3, 10)
    assert locator.at(("inner", "kind", 7)) == (3, 9)
    assert locator.key(("inner", "kind")) == (3, 3)
    assert locator.at(("nowhere",)) == (1, 1)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("partail", "; did you mean 'partial'?"),  # a near miss
        ("zzz", "; known: keep, partial"),  # few words: all of them
    ],
)
def test_suggestions(word, said):
    assert suggest(word, ["keep", "partial"]) == said


def test_no_suggestion_where_there_is_nothing_near_and_too_much_to_list():
    assert suggest("zzz", [f"name-{i}" for i in range(20)]) == ""
