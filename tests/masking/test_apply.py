from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoop_mcp.masking import wire
from hoop_mcp.masking.apply import FAILED, MaskCount, NeedsDetectionError, mask_columns
from hoop_mcp.masking.plan import plan
from hoop_mcp.terms import ColumnMask, Operator, OutputColumn

KEY = b"a key of the test's own, 32 bytes"


def mask(finder, *columns, masks=None):
    """Columns as (name, type, cells)."""
    laid = plan(tuple(OutputColumn(name, kind) for name, kind, _ in columns), masks or (None,) * len(columns))
    return mask_columns(laid, [cells for _, _, cells in columns], finder=finder, key=KEY)


def rows(masked):
    return orjson.loads(masked.body_rows)


def test_traced_columns_go_by_operator_and_the_rest_through_detection(detector):
    masked = mask(
        detector,
        ("id", "int4", ["1", "2"]),
        ("email", "text", ["joe@example.com", None]),
        ("born", "date", ["1984-05-03", None]),
        ("note", "text", ["write joe@example.com", "nothing"]),
        masks=(
            None,
            ColumnMask(Operator.PARTIAL, "contact", "EMAIL_ADDRESS"),
            ColumnMask(Operator.GENERALISE, "identity"),
            None,
        ),
    )
    assert rows(masked) == [
        [1, "j***@***.com", "1984-01-01", "write [EMAIL_ADDRESS]"],
        [2, None, None, "nothing"],
    ]
    assert masked.counts == (
        MaskCount(1, "partial", "EMAIL_ADDRESS", 1),
        MaskCount(2, "generalise", "IDENTITY", 1),
        MaskCount(3, "redact", "EMAIL_ADDRESS", 1),
    )
    assert masked.failed == ()


def test_a_kept_column_keeps_its_category_and_nothing_else(detector):
    cells = ["joe@example.com", "joe@example.com, card 4111 1111 1111 1111"]
    keep = (ColumnMask(Operator.KEEP, "contact"),)
    assert rows(mask(detector, ("c", "text", cells), masks=keep)) == [
        [cells[0]],
        ["joe@example.com, card [CREDIT_CARD]"],
    ]
    own = (ColumnMask(Operator.KEEP, "of the owner's making"),)
    assert rows(mask(detector, ("c", "text", cells[:1]), masks=own)) == [["[EMAIL_ADDRESS]"]]


def test_documents_are_masked_by_leaf_and_keep_every_other_byte(detector):
    document = (
        '{"b": 12345678901234567890123, "e":"joe@example.com",  "joe@example.com": [1.50, "x\\u0040y.com"], '
        '"card": 4111111111111111}'
    )
    masked = mask(detector, ("payload", "jsonb", [document]))
    assert masked.body_rows == (
        b'[[{"b": 12345678901234567890123, "e":"[EMAIL_ADDRESS]",  "[EMAIL_ADDRESS]": [1.50, "[EMAIL_ADDRESS]"], '
        b'"card": "[CREDIT_CARD]"}]]'
    )


def test_the_keys_of_a_document_and_its_columns_name_are_cues(detector):
    cells = ['{"passportNo": "123456789"}', '{"ref": "123456789"}']
    assert rows(mask(detector, ("d", "jsonb", cells))) == [[{"passportNo": "[US_PASSPORT]"}], [{"ref": "123456789"}]]
    assert rows(mask(detector, ("passport", "jsonb", ['"123456789"']))) == [["[US_PASSPORT]"]]


def test_an_untouched_document_is_embedded_as_it_was_printed(detector):
    document = '{"a":  1e400, "n": 0.10, "z": 9007199254740993}'
    assert mask(detector, ("payload", "json", [document])).body_rows == f"[[{document}]]".encode()


def test_a_document_that_cannot_be_read_is_withheld(detector):
    masked = mask(detector, ("payload", "json", ['{"a": "\\ud800 joe@example.com"}', "1], [2"]))
    assert rows(masked) == [[None], [None]]
    assert masked.counts == (MaskCount(0, "redact", "UNREADABLE", 2),)


def test_arrays_are_masked_by_element_and_keep_their_types(detector):
    masked = mask(
        detector,
        ("cc", "_text", ['{joe@example.com,NULL,"a b"}', "[0:0]={x}"]),
        ("n", "_int4", ["{1,2}", "{}"]),
        ("d", "_jsonb", [r'{"{\"e\": \"joe@example.com\"}"}', None]),
    )
    assert rows(masked) == [
        [["[EMAIL_ADDRESS]", None, "a b"], [1, 2], [{"e": "[EMAIL_ADDRESS]"}]],
        [["x"], [], None],
    ]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bytea", "\\x" + b"write joe@example.com".hex()),
        ("bytea", "\\x" + "joe@example.com".encode("utf-16-le").hex()),
        ("bytea", "\\x" + b"\xff\xfe joe@example.com".hex()),
        ("inet", "10.7.1.254"),
        ("xml", "<a>joe@example.com</a>"),
        ("app_record", '(1,"joe@example.com","")'),
        ("hstore", '"e"=>"joe@example.com"'),
        ("tsvector", "'joe@example.com':1"),
    ],
)
def test_types_of_any_kind_are_read(detector, kind, text):
    masked = mask(detector, ("c", kind, [text, None]))
    assert text not in masked.body_rows.decode()
    assert sum(count.cells for count in masked.counts) == 1


@pytest.mark.parametrize("kind", ["int8", "numeric", "uuid", "timestamptz", "interval", "_int8"])
def test_gated_types_are_not_read_but_a_type_that_only_borrows_the_name_is(detector, kind):
    assert rows(mask(detector, ("c", kind, ["5555555555554444" if kind != "_int8" else "{5555555555554444}"])))
    borrowed = mask(detector, ("c", kind, ["joe@example.com"]))
    assert b"joe@" not in borrowed.body_rows


def test_names_are_the_agents_text_and_are_scanned(detector):
    assert mask(detector, ("joe@example.com", "int4", ["1"])).names == ("[EMAIL_ADDRESS]",)


class Broken:
    """A finder that fails on one column."""

    def __init__(self, finder):
        self._finder = finder

    def scan(self, name, values, skip=frozenset()):
        if name == "bad":
            raise RuntimeError(values[0])
        return self._finder.scan(name, values, skip)

    def flagged(self, name, values):
        return self._finder.flagged(name, values)


def test_a_column_whose_detection_fails_is_withheld_whole_and_counted(detector):
    masked = mask(Broken(detector), ("bad", "text", ["secret", None, ""]), ("good", "text", ["a", "b", "c"]))
    assert rows(masked) == [[None, "a"], [None, "b"], [None, "c"]]
    assert masked.failed == (0,)
    assert masked.counts == (MaskCount(0, "redact", FAILED, 2),)


def test_a_column_whose_operator_cannot_be_built_is_withheld(detector):
    broken = (ColumnMask(Operator.REDACT, "contact", options=(("nonsense", 1),)),)
    masked = mask(detector, ("c", "text", ["secret"]), masks=broken)
    assert rows(masked) == [[None]]
    assert masked.failed == (0,)


def test_a_value_that_its_type_cannot_print_withholds_the_column(detector):
    masked = mask(detector, ("c", "int4", ["1", "one"]))
    assert rows(masked) == [[None], [None]]


def test_half_characters_do_not_break_the_answer(detector):
    assert rows(mask(detector, ("c", "text", ["a\ud800b"]))) == [["a?b"]]


def test_columns_that_do_not_fit_the_plan_are_refused(detector):
    laid = plan((OutputColumn("a", "text"), OutputColumn("b", "text")), (None, None))
    for columns in ([["x"]], [["x"], ["y", "z"]]):
        with pytest.raises(ValueError):
            mask_columns(laid, columns, finder=detector, key=KEY)


@pytest.mark.parametrize(
    ("name", "kind", "mask_", "needed"),
    [
        ("count", "int8", None, False),
        ("sum_2024", "numeric", None, False),
        ("?column?", "int4", None, False),
        ("count", "text", None, True),
        ("count", "mood", None, True),
        ("count", "int8", ColumnMask(Operator.KEEP, "contact"), True),
        ("joe@example.com", "int8", None, True),
        ("4111111111111111", "int8", None, True),
        ("a 4111 1111 1111 1111", "int8", None, True),
    ],
)
def test_a_plan_needs_the_worker_unless_typing_is_all_there_is_to_do(name, kind, mask_, needed):
    assert plan((OutputColumn(name, kind),), (mask_,)).needs_worker is needed


def test_without_a_detector_a_column_to_be_read_is_an_error():
    with pytest.raises(NeedsDetectionError):
        mask(None, ("c", "text", ["x"]))
    with pytest.raises(NeedsDetectionError):
        mask(None, ("c", "uuid", ["joe@example.com"]))
    assert rows(mask(None, ("c", "int4", ["1"]))) == [[1]]


def test_a_plan_needs_one_mask_per_column():
    with pytest.raises(ValueError):
        plan((OutputColumn("a", "text"),), ())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.none() | st.text(max_size=30)] * 2), max_size=8))
def test_shape_nulls_and_untouched_text_survive(detector, table):
    cells = [list(column) for column in zip(*table, strict=True)] or [[], []]
    masked = mask(detector, ("a", "text", cells[0]), ("b", "text", cells[1]))
    result = rows(masked)
    assert len(result) == len(table)
    for got, row in zip(result, table, strict=True):
        assert [cell is None for cell in got] == [cell is None for cell in row]


def test_a_plan_and_an_answer_cross_the_wire_unchanged(detector):
    masks = (
        ColumnMask(Operator.PARTIAL, "contact", "PHONE_NUMBER", None, (("last", 3),)),
        ColumnMask(Operator.KEEP, "contact"),
        None,
    )
    laid = plan(tuple(OutputColumn(name, "text") for name in "abc"), masks)
    columns = [["+49 171 2345678"], ["joe@example.com"], [None]]
    told, sent = wire.read_request(wire.request(laid, columns))
    assert wire.read_plan(told) == laid
    assert sent == columns
    masked = mask_columns(laid, columns, finder=detector, key=KEY)
    assert wire.read_reply(wire.reply(masked)) == masked


def test_a_failure_crosses_the_wire_as_a_class_name_only():
    with pytest.raises(wire.WorkerSaidNoError) as raised:
        wire.read_reply(wire.refusal(RuntimeError("joe@example.com")))
    assert str(raised.value) == "RuntimeError"
