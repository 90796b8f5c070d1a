"""The node schemas of PostgreSQL 14 to 18: which fields each node prints, in which order.

The files are data collected from running servers (tests/tree/shapes.sql is the collection) and compared with every
server the tests can start. A node that is not in a file is not understood, and a statement that holds it is refused.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from hoop_mcp.errors import HoopError

if TYPE_CHECKING:
    from hoop_mcp.sql.tree import NodeSchema

SUPPORTED_MAJORS = (14, 15, 16, 17, 18)


@cache
def schema_for(major: int) -> NodeSchema:
    """The schema of one PostgreSQL major version.

    Raises:
        HoopError: the version is not one this product has a schema for.
    """
    if major not in SUPPORTED_MAJORS:
        raise HoopError(f"PostgreSQL {major} is not supported: 14 to 18 are")
    text = files("hoop_mcp.sql").joinpath(f"data/nodes-{major}.json").read_text("ascii")
    return {tag: frozenset(tuple(shape) for shape in shapes) for tag, shapes in json.loads(text).items()}
