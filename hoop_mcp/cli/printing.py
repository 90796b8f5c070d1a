"""What commands print: JSON for programs, tables for people, messages on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import click
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def json_option(command: Decorated) -> Decorated:
    """``--json``, as ``as_json: bool``: stdout then holds JSON only."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout; messages go to stderr.")(command)


def print_json(value: object) -> None:
    """One JSON document on one line of stdout, flushed, so that a program that waits for it gets it."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None = None) -> None:
    """A table for people on stdout: two blanks between columns, no frame; lines longer than *width* are cut."""
    print("\n".join(line if width is None else cut(line, width) for line in table_lines(head, rows)))


def terminal_width() -> int | None:
    """How wide a line may be: what COLUMNS says, else the terminal's width; None where stdout is no terminal."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def cut(line: str, width: int) -> str:
    """The line, or as much of it as fits with an ellipsis at its end."""
    return line if len(line) <= width else line[: max(width - 1, 0)].rstrip() + "…"


def table_lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table; a cell is one line, None is a middle dot."""
    cells = [[plain(cell) for cell in head], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def plain(cell: object) -> str:
    """A cell's text without control characters: text from a database must not steer a terminal."""
    if cell is None:
        return "·"
    return "".join(letter if letter.isprintable() else " " for letter in str(cell))


def say(message: str) -> None:
    """A message to the person, on stderr."""
    click.echo(message, err=True)
