from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hoop_mcp.cli.mask import mask
from hoop_mcp.errors import NotBuiltYet
from hoop_mcp.masking.files import mask_csv, mask_json_lines, type_name


def test_untouched_csv_fields_keep_their_bytes(detector):
    text = 'id,"na,me",note\r\n1,"Al ""x""","mail joe@x.example, ok"\r\n2, bob ,"two\nlines"\n"3",,""\n\n4'
    masked = mask_csv(text, detector)
    assert masked.text == text.replace("joe@x.example", "[EMAIL_ADDRESS]")
    assert [(f.row, f.column, f.start, f.end, f.entity) for f in masked.findings] == [
        (0, "note", 5, 18, "EMAIL_ADDRESS")
    ]


def test_a_masked_field_is_quoted_where_it_must_be_and_where_it_was(detector):
    masked = mask_csv('a,b\n"joe@x.example","say ""hi"" to joe@x.example"\njoe@x.example,\n', detector)
    assert masked.text == 'a,b\n"[EMAIL_ADDRESS]","say ""hi"" to [EMAIL_ADDRESS]"\n[EMAIL_ADDRESS],\n'


def test_a_file_without_a_header_loses_no_first_row(detector):
    assert mask_csv("joe@x.example,1\n", detector).text == "[EMAIL_ADDRESS],1\n"


def test_fields_beyond_the_header_are_read_too(detector):
    assert mask_csv("a\n1,joe@x.example\n", detector).text == "a\n1,[EMAIL_ADDRESS]\n"


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('abc,"\r\n; \t|1'), max_size=60))
def test_a_csv_with_nothing_in_it_comes_back_byte_for_byte(detector, text):
    assert mask_csv(text, detector).text == text


HEAD = json.dumps(
    {"columns": [{"name": name, "pg_type": kind} for name, kind in (("n", "int8"), ("c", "jsonb"), ("cc", "text[]"))]}
)


def test_json_lines_keep_raw_cells_and_drop_what_is_no_cell(detector):
    row = r'{"r": [1.50, "{\"e\":\"joe@x.example\",\"n\": 1}",  ["a", "joe@x.example"]], "other": "jim@x.example"}'
    masked = mask_json_lines(f"{HEAD}\n{row}\n", detector)
    head, line, end = masked.text.split("\n")
    assert head == HEAD
    assert line == r'{"r": [1.50, "{\"e\":\"[EMAIL_ADDRESS]\",\"n\": 1}", ["a", "[EMAIL_ADDRESS]"]]}'
    assert end == ""
    assert [(f.row, f.column, f.start, f.end) for f in masked.findings] == [(0, "c", 6, 19), (0, "cc", 7, 20)]


@pytest.mark.parametrize(
    "row", ["{}", "[]", '{"r": 1}', '{"r": [1]}', "joe@x.example", '{"r": [1, 2, 3], "r": [1, 2, 3]}']
)
def test_a_line_of_another_shape_is_refused_by_its_number(detector, row):
    with pytest.raises(ValueError, match="line 2") as raised:
        mask_json_lines(f"{HEAD}\n{row}\n", detector)
    assert "joe" not in str(raised.value)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("text[]", "_text"),
        ("varchar(20)", "varchar"),
        ("char(3)", "bpchar"),
        ("integer", "int4"),
        ("numeric(9, 2)", "numeric"),
    ],
)
def test_types_are_understood_as_people_write_them(declared, expected):
    assert type_name(declared) == expected


def test_the_command_masks_a_file_and_lists_findings_without_values(tmp_path):
    source, findings = tmp_path / "a.csv", tmp_path / "f.jsonl"
    source.write_bytes(b"us_passport,x\n123456789,\xff joe@x.example\n")
    run = CliRunner().invoke(mask, [str(source), "--findings", str(findings)])
    assert run.exit_code == 0
    assert run.stdout_bytes == b"us_passport,x\n[US_PASSPORT],\xff [EMAIL_ADDRESS]\n"
    listed = [json.loads(line) for line in findings.read_text().splitlines()]
    assert [(one["row"], one["column"], one["entity"]) for one in listed] == [
        (0, "us_passport", "US_PASSPORT"),
        (0, "x", "EMAIL_ADDRESS"),
    ]
    assert "joe" not in findings.read_text()
    unnamed = CliRunner().invoke(mask, [str(source), "--no-names"])
    assert unnamed.stdout_bytes == b"us_passport,x\n123456789,\xff [EMAIL_ADDRESS]\n"


def test_an_engine_that_is_not_built_says_so(tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("a\n1\n")
    for engine in ("rampart", "spacy:en_core_web_sm"):
        run = CliRunner().invoke(mask, [str(source), "--ner", engine])
        assert isinstance(run.exception, NotBuiltYet)
        assert run.stdout == ""
