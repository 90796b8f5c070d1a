"""The example agent, run as its docstring says, against a governed shop."""

import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "agents" / "plain_client.py"


def run(shop, *arguments):
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        env=shop.environment, cwd=shop.folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def test_the_example_prints_a_masked_row_and_a_refusal_and_ends_well(shop):
    connection = await asyncpg.connect(shop.admin_dsn)
    name, email = await connection.fetchrow("SELECT name, email FROM customers WHERE id = 1")
    await connection.close()
    ended = run(
        shop,
        str(shop.settings),
        "SELECT id, name, email FROM customers WHERE id = 1",
        "SELECT id FROM customers WHERE email LIKE 'a%'",
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("tools: query, ")
    asked = lines.index("> SELECT id, name, email FROM customers WHERE id = 1")
    assert lines[asked + 1] == "id (as stored) | name (keep) | email (partial)"
    cells = lines[asked + 2].split(" | ")
    assert cells[:2] == ["1", name]
    assert "***@***" in cells[2]
    assert any(line.startswith("journal entry ") for line in lines[asked:])
    refused = lines.index("> SELECT id FROM customers WHERE email LIKE 'a%'")
    assert lines[refused + 1].startswith("HOOP3")
    assert email not in ended.stdout + ended.stderr


async def test_the_example_without_a_statement_says_how_it_is_called(shop):
    ended = run(shop, str(shop.settings))
    assert ended.returncode == 1
    assert ended.stderr.startswith("usage: ")
    assert ended.stdout == ""
