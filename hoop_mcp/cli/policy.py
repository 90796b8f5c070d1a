"""``hoop-mcp policy``: check, test and explain policies, and print the grants they imply."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hoop_mcp.cli.later import not_built
from hoop_mcp.cli.options import config_option
from hoop_mcp.cli.printing import json_option, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from hoop_mcp.policy.assessment import Asking, Judge
    from hoop_mcp.policy.trial import Result
    from hoop_mcp.wiring.policies import Reading

_PATHS = click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))


@click.group("policy")
def policy() -> None:
    """Check, test and explain policies."""


policy.add_command(not_built("replay", "Decide past journal entries again under other policies.", group="policy"))
policy.add_command(not_built("diff", "Compare two sets of policies.", group="policy"))


@policy.command("check")
@_PATHS
@config_option
@json_option
def check(paths: tuple[Path, ...], config: Path, *, as_json: bool) -> int:
    """Tell every fault of policies, catalogues and tests; no database and no settings are needed."""
    reading = _reading(paths, config)
    failed = len({fault.file for fault in reading.faults})
    passed = len(reading.files) - failed
    if as_json:
        faults = [{"file": f.file, "line": f.line, "column": f.column, "what": f.what} for f in reading.faults]
        print_json({"faults": faults, "passed": passed, "failed": failed})
    else:
        for fault in reading.faults:
            print(fault)
        print(f"{passed} passed, {failed} failed")
    return 1 if reading.faults else 0


@policy.command("test")
@_PATHS
@config_option
@json_option
def test(paths: tuple[Path, ...], config: Path, *, as_json: bool) -> int:
    """Run the tests that lie beside the policies."""
    from hoop_mcp.policy.trial import summary

    reading = _reading(paths, config)
    if reading.faults:
        for fault in reading.faults:
            say(str(fault))
        say("policies with faults are not tested")
        return 1
    if not reading.tests:
        raise click.ClickException("no *.test.yaml lies there")
    results = asyncio.run(_run_tests(reading, config))
    if as_json:
        cases = [{"place": r.place, "it": r.it, "passed": r.passed, "differences": r.differences} for r in results]
        passed = sum(result.passed for result in results)
        print_json({"cases": cases, "passed": passed, "failed": len(results) - passed})
    else:
        for result in results:
            print(result)
        print(summary(results))
    return 0 if all(result.passed for result in results) else 1


@policy.command("explain")
@click.argument("sql")
@click.option("--database", required=True, help="The database, by its name in settings.")
@click.option("--as", "role", required=True, help="The role the call runs under.")
@click.option("--for", "purpose", help="The purpose; may be left out where there is only one.")
@click.option("--reason", help="What the call would say in reason.")
@config_option
@json_option
def explain(
    sql: str, *, database: str, role: str, purpose: str | None, reason: str | None, config: Path, as_json: bool
) -> int:
    """Tell what policy says about SQL and why; nothing is run. With - read JSON lines from stdin."""
    from hoop_mcp.policy.assessment import Asking

    asking = Asking(role=role, purpose=purpose, database=database, reason=reason)
    return asyncio.run(_explain(sql, asking, config, as_json=as_json))


@policy.command("grants")
@click.option("--database", required=True, help="The database, by its name in settings.")
@click.option("--clean", default="hoop_clean", show_default=True, help="The login that reads nothing personal.")
@click.option("--full", default="hoop_full", show_default=True, help="The login that reads what policy may show.")
@config_option
def grants(*, database: str, clean: str, full: str, config: Path) -> int:
    """Print the SQL that gives the two logins what policy could use, and no more."""
    from hoop_mcp.policy.grants import grants as sql_of
    from hoop_mcp.wiring.policies import load_governance
    from hoop_mcp.wiring.settings import load_settings

    policies, catalogues = load_governance(load_settings(config))
    if database not in catalogues:
        raise click.UsageError(f"settings know no database {database}; they know {', '.join(sorted(catalogues))}")
    relations = asyncio.run(_judging().read_relations(config, database))
    try:
        print(sql_of(catalogues[database], policies, relations, database=database, clean=clean, full=full), end="")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return 0


@policy.command("schema")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder to write to.")
def schema(out: Path) -> int:
    """Write the JSON Schemas of settings, policies, catalogues and tests, for editors to complete and check."""
    from hoop_mcp.policy.schemas import schemas

    out.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (out / name).write_text(text, encoding="utf-8")
        say(str(out / name))
    return 0


def _judging() -> ModuleType:
    """Whoever can analyse SQL, imported only when a command needs it."""
    from hoop_mcp.wiring import judging

    return judging


def _reading(paths: Sequence[Path], config: Path) -> Reading:
    """The files named, else those of the settings, else ./policies."""
    from hoop_mcp.wiring.policies import read_files
    from hoop_mcp.wiring.settings import load_settings

    if paths:
        reading = read_files(paths)
    elif config.is_file():
        settings = load_settings(config)
        catalogues = {database.name: Path(database.catalogue) for database in settings.databases}
        reading = read_files([Path(settings.policies)], catalogues=catalogues)
    elif Path("policies").is_dir():
        reading = read_files([Path("policies")])
    else:
        raise click.UsageError("name files or folders: there are no settings and no ./policies here")
    if not reading.files:
        raise click.ClickException("no YAML file lies there")
    return reading


async def _run_tests(reading: Reading, config: Path) -> tuple[Result, ...]:
    from hoop_mcp.policy.trial import run_tests

    results: list[Result] = []
    search_paths = _search_paths(config)
    for path, tests in reading.tests.items():
        file = tests.document.schema_file
        if file is None:
            judge: Judge = await _judging().open_judge(config)
        else:
            judge = await _judging().open_judge(
                None, schema=path.parent / file, policies=path.parent, search_paths=search_paths
            )
        try:
            results += await run_tests(tests, judge)
        finally:
            await judge.aclose()
    return tuple(results)


def _known(asking: Asking, config: Path) -> None:
    """Refuse names that settings and policies do not have: a slip must not read as a policy's no."""
    from hoop_mcp.documents import suggest
    from hoop_mcp.wiring.policies import load_governance
    from hoop_mcp.wiring.settings import load_settings

    settings = load_settings(config)
    policies, _ = load_governance(settings)
    databases = sorted(each.name for each in settings.databases)
    if asking.database not in databases:
        raise click.UsageError(f"settings have no database {asking.database}; they have {', '.join(databases)}")
    there = [each for each in policies.policies if asking.database in each.databases]
    roles = frozenset[str]().union(*(each.roles for each in there))
    purposes = frozenset[str]().union(*(each.purposes or () for each in there if asking.role in each.roles))
    for flag, word, known in (("as", asking.role, roles), ("for", asking.purpose, purposes)):
        if word is not None and word not in known:
            near = suggest(word, known).partition("known:")[0].strip("; ")
            listed = f"--{flag} is one of {', '.join(sorted(known)) or 'none'}"
            raise click.UsageError(
                f"no policy on {asking.database} speaks of {word}; {f'{near} ' * bool(near)}{listed}"
            )


def _search_paths(config: Path) -> dict[str, tuple[str, ...]]:
    """Where each database of the settings looks names up, if there are settings."""
    from hoop_mcp.wiring.settings import load_settings

    return {each.name: each.search_path for each in load_settings(config).databases} if config.is_file() else {}


async def _explain(sql: str, asking: Asking, config: Path, *, as_json: bool) -> int:
    from hoop_mcp.policy.batch import answer_line, as_line
    from hoop_mcp.policy.explain import explained

    _known(asking, config)
    judge: Judge = await _judging().open_judge(config)
    try:
        if sql != "-":
            assessment = await judge.assess(sql, (), asking)
            if as_json:
                print_json(assessment.as_json())
            else:
                print(explained(judge.policies, assessment))
            return 0
        analysed = 0
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            answered = await answer_line(line, judge, asking)
            analysed += answered.analysed
            if as_json:
                sys.stdout.buffer.write(as_line(answered))
            else:
                head = f"-- {answered.ident}\n" if answered.ident is not None else ""
                sys.stdout.buffer.write(f"{head}{explained(judge.policies, answered.assessment)}\n".encode())
            sys.stdout.buffer.flush()
        if not analysed:
            say("nothing could be analysed")
            return 2
        return 0
    finally:
        await judge.aclose()
