"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def config_option(command: Decorated) -> Decorated:
    """``--config PATH``, as ``config: Path``: the flag, else HOOP_MCP_CONFIG, else ./hoop.yaml."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="HOOP_MCP_CONFIG",
        default=Path("hoop.yaml"),
        show_default=True,
        help="The settings file; HOOP_MCP_CONFIG if the flag is not given.",
    )(command)
