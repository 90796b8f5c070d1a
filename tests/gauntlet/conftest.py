"""The gauntlet's database on each server there is, and the command of docs/gauntlet.md run over every statement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMMAND = ("policy", "explain", "--database", "gauntlet", "--as", "analyst", "--json", "-")
FILES = ("corpus.jsonl", "redteam.jsonl", "own.jsonl")


def load(name):
    return [json.loads(line) for line in (HERE / name).read_text("utf-8").splitlines() if line.strip()]


class Gauntlet:
    """One database with the adversarial schema."""

    def __init__(self, databases, loop):
        self.run = loop.run
        self.databases = databases
        self.name = databases.create()
        self.admin_dsn = databases.cluster.dsn(self.name)
        for script in ("schema.sql", "schema_extra.sql"):
            databases.execute((HERE / script).read_text("utf-8"), self.admin_dsn)

    @property
    def environment(self):
        return {
            "HOOP_GAUNTLET_DSN": self.databases.cluster.dsn(self.name, "hoop_agent"),
            "HOOP_GAUNTLET_CLEAN_DSN": self.databases.cluster.dsn(self.name, "hoop_clean"),
        }

    @property
    def lacks(self):
        """What this server was built without."""
        try:
            self.databases.fetch("SELECT xmlelement(name x)::text", dsn=self.admin_dsn)
        except Exception:
            return {"xml"}
        return set()

    def explain(self, lines):
        """``policy explain --json -``: the process when it ended, given these lines."""
        return subprocess.run(
            [sys.executable, "-m", "hoop_mcp", *COMMAND, "--config", str(HERE / "hoop.yaml")],
            input=b"".join(lines),
            env={**os.environ, **self.environment},
            capture_output=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="session")
def gauntlet(any_databases, _loop):
    made = Gauntlet(any_databases, _loop)
    yield made
    any_databases.drop(made.name)


@pytest.fixture(scope="session")
def gauntlet_here(databases, _loop):
    """On the embedded server alone."""
    made = Gauntlet(databases, _loop)
    yield made
    databases.drop(made.name)


@pytest.fixture(scope="session")
def rows():
    return [row for name in FILES for row in load(name)]


@pytest.fixture(scope="session")
def answers(gauntlet, rows):
    """The answer to each labelled statement, by id."""
    lines = [json.dumps({"id": row["id"], "sql": row["sql"]}).encode() + b"\n" for row in rows]
    ended = gauntlet.explain(lines)
    assert ended.returncode == 0, ended.stderr.decode()
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [answer["id"] for answer in told] == [row["id"] for row in rows]
    return {answer["id"]: answer for answer in told}
