"""How a command ends when it could not be done: what is said on stderr, and the exit code.

What is said is made of sentences of ours. The text of an unexpected exception is not printed at all, whatever the
environment asks for: a driver's error quotes rows and a connection error quotes the address with its password.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hoop_mcp.errors import HoopError, SettingsError

COULD_NOT = 2


def ending(raised: BaseException) -> int:
    """Say on stderr why the command ended, and give its exit code.

    Exceptions that concurrent tasks wrapped into groups are looked for inside: one of ours explains more than the
    cancellations around it.
    """
    found = leaves(raised)
    raised = next((one for one in found if isinstance(one, HoopError)), found[0])
    match raised:
        case SystemExit(code=code):
            return code if isinstance(code, int) else COULD_NOT if code else 0
        case click.exceptions.Exit():
            return raised.exit_code
        case click.ClickException():
            raised.show()
        case click.Abort() | KeyboardInterrupt():
            _say("interrupted")
        case BrokenPipeError():
            # Whoever read our output has gone (`| head`); what is still buffered must not raise once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case SettingsError(faults=faults):
            for fault in faults:
                _say(fault)
        case HoopError():
            _say(str(raised))
        case OSError(filename=str() as name, strerror=str() as why):
            # A file that somebody named; connections have none. The operating system's words for it hold no content.
            _say(f"{name}: {why[:1].lower()}{why[1:]}")
        case _:
            _say(f"failed: {type(raised).__name__} at {_place(raised)}")
            _say("This is a fault of hoop-mcp. Run `hoop-mcp doctor`; if it finds nothing, report the line above.")
    return COULD_NOT


def leaves(raised: BaseException) -> list[BaseException]:
    """The exceptions inside nested groups, in order; the exception itself when it is no group."""
    if isinstance(raised, BaseExceptionGroup):
        return [leaf for one in raised.exceptions for leaf in leaves(one)]
    return [raised]


def _place(raised: BaseException) -> str:
    traceback = raised.__traceback__
    if traceback is None:
        return "?"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"


def _say(line: str) -> None:
    click.echo(line, err=True)
