"""``hoop-mcp journal``: verify and read the journal. Nothing here unseals anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hoop_mcp.cli.later import not_built
from hoop_mcp.cli.options import config_option
from hoop_mcp.cli.printing import json_option, plain, print_json, print_table, terminal_width
from hoop_mcp.errors import NotBuiltYet
from hoop_mcp.terms import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from hoop_mcp.journal.entry import Entry
    from hoop_mcp.journal.verify import Verdict

    Decorated = TypeVar("Decorated", bound=Callable[..., Any])

LATER = {
    "sessions": "List sessions.",
    "replay": "Step through a session.",
    "reveal": "Unseal parts of an entry, journaled, with a reason.",
    "proof": "Prove that an entry is in the journal.",
    "anchor": "Leave the head where this machine cannot reach.",
    "export": "Export entries.",
    "retain": "Apply retention.",
    "erase": "Erase sealed parts lawfully.",
}
KINDS = tuple(sorted(kind.value for kind in EventKind))
UNANCHORED = (
    "unanchored: whoever can write this file could have cut its end off or written it anew. "
    "Keep its size and head where they cannot reach, and compare."
)


def _journal_option(command: Decorated) -> Decorated:
    """``--journal PATH``, as ``journal_path: Path | None``."""
    return click.option(
        "--journal",
        "journal_path",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The journal's file, instead of the one that settings name.",
    )(command)


@click.group("journal")
def journal() -> None:
    """Verify and read the journal."""


for _name, _says in LATER.items():
    journal.add_command(not_built(_name, _says, group="journal"))


@journal.command("verify")
@config_option
@_journal_option
@click.option("--anchor", type=click.Path(path_type=Path), multiple=True, help="A head kept elsewhere. Not built yet.")
@click.option("--no-anchor", is_flag=True, help="Compare with nothing kept elsewhere; the verdict says so.")
@json_option
def verify(config: Path, journal_path: Path | None, anchor: tuple[Path, ...], *, no_anchor: bool, as_json: bool) -> int:
    """Check every entry and every sealed part; exit 1 and name the first fault if there is one."""
    from hoop_mcp.journal.verify import verify as check
    from hoop_mcp.wiring.journal import open_reader

    if anchor:
        if no_anchor:
            raise click.UsageError("--anchor and --no-anchor exclude each other")
        raise NotBuiltYet("journal verify --anchor")
    path = _path(config, journal_path)
    with open_reader(path) as reader:
        verdict = check(reader.rows(), damage=reader.damage())
    if as_json:
        first_bad = None if verdict.ok else {"seq": verdict.bad_seq, "why": verdict.why}
        found = {key: value for key, value in asdict(verdict).items() if key not in {"bad_seq", "why"}}
        print_json(
            {
                **found,
                "entries": verdict.size,
                "first_bad": first_bad,
                "standing": verdict.standing,
                "journal": str(path),
            }
        )
    else:
        _print_verdict(path, verdict)
    return 0 if verdict.ok else 1


@journal.command("tail")
@config_option
@_journal_option
@click.option("-n", "count", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many entries.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Only entries of this kind; may be given more than once.",
)
@json_option
def tail(config: Path, journal_path: Path | None, count: int, kinds: tuple[str, ...], *, as_json: bool) -> int:
    """The last entries, oldest first."""
    from hoop_mcp.wiring.journal import open_reader

    with open_reader(_path(config, journal_path)) as reader:
        entries = reader.tail(count, kinds)
    if as_json:
        print_json({"entries": [_as_json(entry) for entry in entries]})
    else:
        head = ("seq", "time (UTC)", "kind", "tool", "decision", "rules", "rows", "call")
        print_table(head, (_line(entry) for entry in entries), width=terminal_width())
    return 0


@journal.command("show")
@click.argument("seq", type=click.IntRange(0))
@config_option
@_journal_option
@click.option("--reveal", is_flag=True, help="Unseal the parts. Not built yet.")
@json_option
def show(seq: int, config: Path, journal_path: Path | None, *, reveal: bool, as_json: bool) -> int:
    """One entry: its clear body, and the names and sizes of what is sealed."""
    from hoop_mcp.wiring.journal import open_reader

    if reveal:
        raise NotBuiltYet("journal show --reveal")
    path = _path(config, journal_path)
    with open_reader(path) as reader:
        entry = reader.entry(seq)
    if entry is None:
        raise click.ClickException(f"{path} has no entry {seq}")
    if as_json:
        print_json(_as_json(entry))
    else:
        _print_entry(entry)
    return 0


def _path(config: Path, journal_path: Path | None) -> Path:
    if journal_path is not None:
        return journal_path
    from hoop_mcp.wiring.settings import load_settings

    return Path(load_settings(config).journal.path)


def _print_verdict(path: Path, verdict: Verdict) -> None:
    span = "" if verdict.first_ts is None else f", {_time(verdict.first_ts)} to {_time(verdict.last_ts)}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in verdict.kinds.items())
    sealed = f"{verdict.sealed} parts, {verdict.sealed_bytes:,} bytes"
    _print_facts(
        {
            "journal": path,
            "origin": verdict.origin,
            "entries": f"{verdict.size:,}{span}",
            "kinds": kinds,
            "sealed": f"{sealed}, {verdict.lost} lost, {verdict.orphans} that no entry names",
            "head": verdict.head,
            "chain": "intact" if verdict.ok else f"BROKEN, {verdict.faults} faults",
        }
    )
    if verdict.ok:
        print(UNANCHORED)
    else:
        where = "the file" if verdict.bad_seq is None else f"entry {verdict.bad_seq}"
        print(f"first fault: {where}: {plain(verdict.why)}")


def _print_entry(entry: Entry) -> None:
    own = {"seq", "ts", "parts", "kind", "v"}
    rest = {key: _words(value) for key, value in entry.body.items() if key not in own}
    _print_facts({"entry": entry.seq, "time": _time(entry.ts), "kind": entry.kind, **rest, "leaf": entry.leaf})
    if entry.parts:
        print()
        print_table(
            ("sealed part", "bytes", "data key"),
            ((name, f"{part.length:,}", part.kid) for name, part in sorted(entry.parts.items())),
        )


def _print_facts(facts: Mapping[str, object]) -> None:
    width = max(len(plain(name)) for name in facts)
    for name, value in facts.items():
        print(f"{plain(name):<{width}}  {plain(value)}")


def _line(entry: Entry) -> tuple[object, ...]:
    body = entry.body
    told = body.get("result")
    result: Mapping[str, Any] = told if isinstance(told, dict) else {}
    said = [body.get("decision"), result.get("code"), body.get("alarm")]
    decision = " ".join(str(one) for one in said if one is not None) or None
    rules, rows = _words(body.get("rules")), result.get("rows")
    return (entry.seq, _time(entry.ts), entry.kind, body.get("tool"), decision, rules, rows, entry.call)


def _words(value: object) -> object:
    if isinstance(value, list) and all(isinstance(item, (str, int)) for item in value):
        return ", ".join(str(item) for item in value) or None
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _time(ts: int | None) -> str:
    return "" if ts is None else f"{datetime.fromtimestamp(ts / 1_000_000, UTC):%Y-%m-%d %H:%M:%S}Z"


def _as_json(entry: Entry) -> dict[str, Any]:
    sealed = [{"part": name, "bytes": part.length, "key": part.kid} for name, part in sorted(entry.parts.items())]
    return {"seq": entry.seq, "time": _time(entry.ts), "leaf": entry.leaf, "body": entry.body, "sealed": sealed}
