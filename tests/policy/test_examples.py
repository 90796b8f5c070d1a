"""The examples of docs/policy.md, put into one folder, are a set-up that works."""

import json
import re
from pathlib import Path

import pytest

from hoop_mcp import cli

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMES = {"policy": "support.yaml", "catalogue": "shop.catalogue.yaml", "tests": "support.test.yaml"}


@pytest.fixture
def examples(tmp_path):
    for text in FENCE.findall((ROOT / "docs" / "policy.md").read_text("utf-8")):
        name = NAMES[text.split(":", 1)[0]]
        assert not (tmp_path / name).exists(), f"two examples of {name}"
        (tmp_path / name).write_text(text, "utf-8")
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES.values())
    (tmp_path / "shop.sql").write_bytes((ROOT / "policies" / "shop" / "shop.sql").read_bytes())
    return tmp_path


def run(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(arg) for arg in args])
    return ended.value.code or 0, capsys.readouterr()


def test_the_examples_fit_together(examples, capsys):
    code, said = run(capsys, "policy", "check", examples)
    assert (code, said.out) == (0, "3 passed, 0 failed\n")


def test_a_slip_in_an_example_is_noticed(examples, capsys):
    path = examples / "support.yaml"
    path.write_text(path.read_text().replace("touches_any: [payment]", "touches_any: [paymnet]"))
    assert run(capsys, "policy", "check", examples)[0] == 1


def test_the_tests_of_the_examples_pass_and_so_does_a_statement_without_tables(examples, capsys):
    path = examples / "support.test.yaml"
    path.write_text(path.read_text() + "  - {it: reaches nothing, sql: SELECT 1, expect: {effect: allow}}\n")
    code, said = run(capsys, "policy", "test", examples)
    assert code == 0, said
    assert said.out.endswith("2 passed, 0 failed\n")


def test_a_schema_is_tested_with_the_search_path_of_the_settings(examples, capsys):
    (examples / "shop.sql").write_text("CREATE SCHEMA sales; CREATE TABLE sales.orders (id int PRIMARY KEY);")
    (examples / "support.yaml").write_text(
        """\
policy: support
owner: dpo@example.com
applies_to: {databases: [shop], roles: [support-agent], purposes: [customer-support]}
rules:
  - id: orders
    when: {kind: [read], only_tables: [sales.orders]}
    then: allow
    because: Orders are open to everybody here.
"""
    )
    (examples / "support.test.yaml").write_text(
        """\
tests: support
schema: shop.sql
as: {role: support-agent, purpose: customer-support, database: shop}
cases:
  - {it: finds the table, sql: SELECT id FROM orders, expect: {effect: allow}}
"""
    )
    settings = examples / "hoop.yaml"
    settings.write_text(
        """\
databases: {shop: {dsn: "${env:A}", clean_dsn: "${env:B}", search_path: [sales], catalogue: shop.catalogue.yaml}}
policies: .
identity: {local: {roles: [support-agent], purposes: [customer-support]}}
journal: {path: journal.db}
"""
    )
    code, said = run(capsys, "policy", "test", "--config", settings, "--json")
    assert (code, json.loads(said.out)["passed"]) == (0, 1), said
