"""Files the package ships and a checkout keeps beside it: policies and their schema.

A wheel carries ``policies/`` as ``hoop_mcp/_policies``; an editable checkout has it at the root of the repository.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def policies() -> Traversable:
    """The folder of the ready-made policies.

    Raises:
        FileNotFoundError: in an installation that lost them.
    """
    shipped = files("hoop_mcp").joinpath("_policies")
    if shipped.is_dir():
        return shipped
    beside = Path(str(files("hoop_mcp"))).parent / "policies"
    if beside.is_dir():
        return beside
    raise FileNotFoundError("the ready-made policies are missing: install hoop-mcp again")


def shop_schema() -> str:
    """The DDL of the shop."""
    return policies().joinpath("shop", "shop.sql").read_text(encoding="utf-8")
