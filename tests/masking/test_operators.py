from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoop_mcp.masking.operators import operator_for
from hoop_mcp.terms import ColumnMask, Operator

KEY = b"a key of the test's own, 32 bytes"


def run(operator, text, *, kind="text", category="contact", entity=None, options=(), key=KEY):
    return operator_for(ColumnMask(operator, category, entity, None, options), kind, key=key)(text)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("text", "joe@example.com", "[CONTACT]"),
        ("varchar", "", "[CONTACT]"),  # one answer for every value, the empty one too
        ("int4", "42", None),  # a placeholder is no integer
        ("date", "1984-05-03", None),
        ("uuid", "3b241101-e2bb-4255-8caf-4136c566a962", None),
        ("jsonb", '{"a": 1}', None),
        ("_text", "{a,b}", None),
        ("mood", "happy", None),  # an enum knows no placeholder
    ],
)
def test_redact_gives_a_placeholder_where_the_type_can_hold_one_and_null_elsewhere(kind, text, expected):
    assert run(Operator.REDACT, text, kind=kind) == expected


def test_redact_names_the_entity_where_the_catalogue_knows_it():
    assert run(Operator.REDACT, "x", entity="EMAIL_ADDRESS") == "[EMAIL_ADDRESS]"
    assert run(Operator.REDACT, "x", category="trade-union membership") == "[TRADE_UNION_MEMBERSHIP]"


@pytest.mark.parametrize(
    ("text", "entity", "expected"),
    [
        ("info@shop.example", "EMAIL_ADDRESS", "i***@***.example"),
        ("a@b.co", "EMAIL_ADDRESS", "***@***.co"),  # an initial would be the whole local part
        ("+49 171 1234567", "PHONE_NUMBER", "***67"),
        ("12345", "PHONE_NUMBER", "[PHONE_NUMBER]"),  # too short to hide more than it shows
        ("DE89 3704 0044 0532 0130 00", "IBAN_CODE", "***3000"),
        ("4111-1111-1111-1234", "CREDIT_CARD", "***1234"),
        ("Schneider", "PERSON", "S***"),
        ("Bo", "PERSON", "[PERSON]"),
        ("joe@x.com and jim@y.com", None, "j***"),  # a sentence is no address
        ("   ", None, "[CONTACT]"),
    ],
)
def test_partial_shows_a_hint(text, entity, expected):
    assert run(Operator.PARTIAL, text, entity=entity) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("date", "1984-05-03", "1984-01-01"),
        ("timestamp", "1984-05-03 10:20:30.5", "1984-01-01 00:00:00"),
        ("timestamptz", "1984-05-03 10:20:30+02", "1984-01-01 00:00:00+00"),
        ("date", "infinity", None),
        ("date", "0044-03-15 BC", None),
        ("int4", "52341", "50000"),
        ("int2", "-32768", "-30000"),  # towards zero: still an int2
        ("int4", "7", "0"),
        ("numeric", "1999.99", "1000"),
        ("float8", "NaN", None),
        ("float8", "1e+20", None),
        ("text", "10115", "10***"),
        ("text", "101", "[CONTACT]"),
        ("inet", "192.168.7.33", "192.168.7.0/24"),
        ("inet", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/8"),
        ("bool", "t", None),
        ("uuid", "3b241101-e2bb-4255-8caf-4136c566a962", None),
        ("jsonb", "1", None),
    ],
)
def test_generalise_gives_a_coarser_value_of_the_same_type(kind, text, expected):
    assert run(Operator.GENERALISE, text, kind=kind) == expected


def test_a_bucket_rounds_numbers_down_towards_zero():
    assert run(Operator.GENERALISE, "37", kind="int4", options=(("bucket", 5),)) == "35"
    assert run(Operator.GENERALISE, "-3", kind="int4", options=(("bucket", 5),)) == "0"


def test_pseudonyms_are_equal_exactly_where_the_normalised_values_are():
    def token(text, **more):
        return run(Operator.PSEUDONYM, text, entity="EMAIL_ADDRESS", **more)

    assert token("Joe@Example.com ") == token("joe@example.com")
    assert token("joe@example.com") != token("jim@example.com")
    assert token("joe@example.com") != token("joe@example.com", key=b"another deployment's key")
    assert token("joe@example.com").startswith("<EMAIL_ADDRESS:")
    assert token("") == ""


def test_pseudonyms_of_phones_ignore_how_they_are_written():
    written = ("+49 (0)171 123", "0049171123", "+49-171-123")
    assert len({run(Operator.PSEUDONYM, text, entity="PHONE_NUMBER") for text in written}) == 1


def test_one_value_has_unrelated_pseudonyms_under_two_entities():
    first, second = (run(Operator.PSEUDONYM, "x", entity=entity) for entity in ("PERSON", "CITY"))
    assert first.split(":")[1] != second.split(":")[1]


def test_a_pseudonym_of_a_uuid_is_a_uuid_and_of_a_number_is_null():
    raw = "3b241101-e2bb-4255-8caf-4136c566a962"
    masked = run(Operator.PSEUDONYM, raw, kind="uuid")
    assert str(UUID(masked)) == masked != raw
    assert run(Operator.PSEUDONYM, "42", kind="int4") is None


def test_a_key_never_shows_in_a_repr():
    mask = operator_for(ColumnMask(Operator.PSEUDONYM, "contact"), "text", key=KEY)
    assert KEY.decode() not in repr(mask)
    assert "key" not in repr(mask)


def test_nullify_hides_even_that_a_value_was_empty():
    assert run(Operator.NULLIFY, "") is None
    assert run(Operator.NULLIFY, "x") is None


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        (Operator.KEEP, (("last", 2),)),
        (Operator.REDACT, (("keep", 2),)),
        (Operator.PARTIAL, (("last", 5),)),
        (Operator.PARTIAL, (("last", "2"),)),
        (Operator.PARTIAL, (("first", 1),)),
        (Operator.GENERALISE, (("keep", 4),)),
        (Operator.GENERALISE, (("bucket", 1),)),
        (Operator.GENERALISE, (("keep", True),)),
    ],
)
def test_an_operator_cannot_be_built_with_options_it_does_not_have(operator, options):
    with pytest.raises(ValueError):
        run(operator, "x", options=options)


def test_a_pseudonym_needs_a_key_worth_the_name():
    with pytest.raises(ValueError):
        run(Operator.PSEUDONYM, "x", key=b"short")


HIDING = [op for op in Operator if op is not Operator.KEEP]
KINDS = ["text", "int4", "numeric", "date", "timestamptz", "uuid", "inet", "jsonb", "_text", "mood", "bytea"]


@given(st.text(min_size=1), st.sampled_from(HIDING), st.sampled_from(KINDS), st.sampled_from([None, "PHONE_NUMBER"]))
def test_no_operator_but_keep_gives_a_text_back_as_it_was(text, operator, kind, entity):
    masked = run(operator, text, kind=kind, entity=entity)
    # What a coarser value equals already (0, a January first, a whole network) tells no more than it does.
    assert masked is None or masked != text or kind in {"int4", "numeric", "date", "timestamptz", "inet"}


@given(st.text(min_size=1))
def test_keep_gives_back_what_it_got(text):
    assert run(Operator.KEEP, text) == text
