"""The demo: an agent, a real MCP client, a real PostgreSQL, and a shop full of people who do not exist.

Everything lies in one folder, so that every other command can be tried on it. A step is told as done only after what
it claims has been compared with the data itself: the masked answer is searched for the raw values.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from hoop_mcp.errors import HoopError
from hoop_mcp.journal.verify import verify
from hoop_mcp.onboarding import assets
from hoop_mcp.onboarding.shop import FULL, ShopSize, seed
from hoop_mcp.wiring.embedded import drop_database, embedded_database
from hoop_mcp.wiring.journal import open_reader
from hoop_mcp.wiring.policies import load_governance
from hoop_mcp.wiring.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hoop_mcp.wiring.embedded import EmbeddedDatabase

DATABASE = "shop"
_SETTINGS = """\
# The demo's settings. Paths are relative to this file.
databases:
  shop: {dsn: "embedded:postgres", search_path: [public], catalogue: policies/shop.catalogue.yaml}
policies: policies/
identity:
  local: {roles: [support-agent], purposes: [customer-support]}
journal: {path: journal.db, keys: keys/}
"""
_POLICIES = (
    "shop.catalogue.yaml",
    "support.yaml",
    "analytics.yaml",
    "support.test.yaml",
    "analytics.test.yaml",
    "shop.sql",
)
_TICKET = """
SELECT t.id FROM tickets t JOIN customers c ON c.id = t.customer_id
WHERE c.email IS NOT NULL AND c.phone IS NOT NULL AND t.body LIKE '%' || c.email || '%' ORDER BY t.id LIMIT 1
"""
_READ = (
    "SELECT c.name, c.email, c.phone, t.subject, t.body"
    " FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE t.id = {}"
)
_PROBE = "SELECT id FROM customers WHERE email LIKE 'a%'"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the demo, by its name in the surface. ``lines`` are for people, ``detail`` for programs."""

    name: str
    ok: bool
    detail: str
    lines: tuple[str, ...] = field(default=())


class DemoFailedError(HoopError):
    """The demo could not be set up; the message says the mend."""


async def prepare(folder: Path, size: ShopSize = FULL, say: Callable[[str], None] = lambda _: None) -> str:
    """Make the folder, or take it as it stands; returns one line about the database.

    Raises:
        DemoFailedError: the folder holds something else.
    """
    settings = _lay_out(folder)
    decided_by, catalogues = load_governance(load_settings(settings))
    cluster = folder / "postgres"
    if _half_made(cluster):
        await drop_database(cluster, DATABASE)
    async with embedded_database(cluster, DATABASE) as database:
        if not _seeded(cluster):
            say(f"seeding {size.customers:,} customers, {size.orders:,} orders, {size.tickets:,} tickets …")
            await seed(database.admin_dsn, size)
            await database.govern(catalogues[DATABASE], decided_by)
            _mark_seeded(cluster)
        return await _about(database)


def _lay_out(folder: Path) -> Path:
    """The settings and policies, where they are not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoFailedError(f"{folder} cannot be made ({error.strerror}): name another folder with --dir") from None
    settings = folder / "hoop.yaml"
    if settings.exists():
        return settings
    if any(folder.iterdir()):
        raise DemoFailedError(f"{folder} is not empty and holds no demo: name another folder with --dir")
    policies = folder / "policies"
    policies.mkdir()
    for name in _POLICIES:
        (policies / name).write_bytes(assets.policies().joinpath(DATABASE, name).read_bytes())
    (folder / "reports").mkdir()
    settings.write_text(_SETTINGS, "utf-8")
    return settings


def _seeded(cluster: Path) -> bool:
    return (cluster / "seeded").exists()


def _half_made(cluster: Path) -> bool:
    """Whether an earlier demo was stopped while it seeded."""
    return cluster.exists() and not _seeded(cluster)


def _mark_seeded(cluster: Path) -> None:
    (cluster / "seeded").touch()


async def run(folder: Path) -> list[Step]:
    """The steps, through ``hoop-mcp serve`` and the MCP SDK's own client."""
    steps: list[Step] = []
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "hoop_mcp", "serve", "--config", str(folder / "hoop.yaml")],
        env=dict(os.environ),
    )
    async with embedded_database(folder / "postgres", DATABASE) as database:
        async with Client(server) as client:
            steps.append(await _masked_read(client, database))
            steps.append(await _refused_probe(client))
        steps.append(await asyncio.to_thread(_journal_verified, folder / "journal.db"))
    return steps


async def _masked_read(client: Any, database: EmbeddedDatabase) -> Step:
    connection = await asyncpg.connect(database.admin_dsn)
    try:
        ticket = await connection.fetchval(_TICKET)
        raw = await connection.fetchrow(_READ.format(ticket))
    finally:
        await connection.close(timeout=5)
    sql = _READ.format(ticket)
    result = await client.call_tool("query", {"sql": sql})
    if result.is_error:
        return Step("masked-read", ok=False, detail=_text(result), lines=(_text(result),))
    answer = result.structured_content
    name, email, phone, subject, body = (str(cell) for cell in answer["rows"][0])
    leaked = [what for what in (raw["email"], raw["phone"], raw["body"]) if what in f"{email} {phone} {body}"]
    ok = not leaked and name == raw["name"] and answer["receipt"]["seq"] > 0
    masked = sum(1 for column in answer["columns"] if column["mask"] not in (None, "keep"))
    found = next((line for line in answer["notices"] if "placeholders" in line), "")
    lines = (
        f"query  {sql}",
        *_table(
            ("name", "email", "phone", "subject", "body"),
            ((name, email, phone, _first_line(subject), _first_line(body)),),
        ),
        f"{masked} of {len(answer['columns'])} columns masked" + (f" · {found}" if found else ""),
        f"{len(answer['rows'])} row · journal #{answer['receipt']['seq']}",
    )
    return Step("masked-read", ok, f"{masked} columns masked, {len(leaked)} raw values in the answer", lines)


async def _refused_probe(client: Any) -> Step:
    result = await client.call_tool("query", {"sql": _PROBE})
    words = _text(result)
    ok = bool(result.is_error) and words.startswith("HOOP")
    return Step("refused-probe", ok, words, (f"query  {_PROBE}", words))


def _journal_verified(path: Path) -> Step:
    with open_reader(path) as reader:
        verdict = verify(reader.rows(), damage=reader.damage())
    copy = path.with_name("journal-tampered.db")
    try:
        for suffix in ("", "-wal"):
            if (source := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        entry = _flip_one_byte(copy)
        with open_reader(copy) as reader:
            tampered = verify(reader.rows(), damage=reader.damage())
    finally:
        for left in path.parent.glob("journal-tampered.db*"):
            left.unlink()
    ok = verdict.ok and not tampered.ok and tampered.bad_seq == entry
    lines = (
        f"verify  {verdict.size} entries, chain intact, {verdict.sealed} sealed parts match · unanchored",
        f"one byte flipped in a copy: entry {tampered.bad_seq} is not what was recorded",
    )
    return Step("journal-verified", ok, f"{verdict.size} entries intact; a flipped byte was found", lines)


def _flip_one_byte(path: Path) -> int:
    """Change one letter of one entry in a copy of the journal; which entry."""
    text = path.read_bytes()
    mark = b'"tool":"query"'
    place = text.rfind(mark)
    wal = path.with_name(path.name + "-wal")
    if place < 0 and wal.exists():
        path, text = wal, wal.read_bytes()
        place = text.rfind(mark)
    if place < 0:
        raise DemoFailedError("the journal holds no entry of this demo")
    seq = text[text.rfind(b'"seq":', 0, place) + 6 : place].split(b",")[0]
    path.write_bytes(text[: place + 8] + b"Q" + text[place + 9 :])
    return int(seq)


async def _about(database: EmbeddedDatabase) -> str:
    connection = await asyncpg.connect(database.admin_dsn)
    try:
        counts = [
            f"{await connection.fetchval(f'SELECT count(*) FROM {table}'):,} {table}"
            for table in ("customers", "orders", "tickets")
        ]
    finally:
        await connection.close(timeout=5)
    return f"PostgreSQL {database.version} (embedded) · shop: {', '.join(counts)} · nobody in it is real"


def _text(result: Any) -> str:
    return " ".join(block.text for block in result.content if getattr(block, "text", None))


def _first_line(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(str(row[place])) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
