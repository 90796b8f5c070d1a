"""What crosses the pipe between the server and its mask worker, as bytes. Both ends use these functions only.

A frame is four bytes of length (big endian) and that many bytes. Requests and replies begin with the length of a JSON
head, likewise in four bytes. A request's head is the plan, and the columns follow as JSON: a worker that knows the plan
by its bytes need not read it again. After a reply's head come the masked rows as they will be sent, unparsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from hoop_mcp.masking.apply import MaskCount, Masked
from hoop_mcp.masking.plan import ColumnPlan, MaskPlan
from hoop_mcp.terms import ColumnMask, Operator

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FRAME = 512 << 20
LENGTH = 4


class WorkerSaidNoError(Exception):
    """The worker could not do it; carries the class of what went wrong there, never its text."""


def frame(payload: bytes) -> bytes:
    """A payload with its length before it.

    Raises:
        ValueError: it is larger than a frame may be.
    """
    if len(payload) > MAX_FRAME:
        raise ValueError("too large for one frame")
    return len(payload).to_bytes(LENGTH, "big") + payload


def request(plan: MaskPlan, columns: Sequence[Sequence[str | None]]) -> bytes:
    """The payload that asks for a plan to be applied."""
    how = [
        {
            "name": column.name,
            "type": column.type_name,
            "scan": column.scan,
            "final": sorted(column.final),
            "mask": None
            if column.mask is None
            else {
                "operator": int(column.mask.operator),
                "category": column.mask.category,
                "entity": column.mask.entity,
                "options": column.mask.options,
                "constant": column.mask.constant,
            },
        }
        for column in plan.columns
    ]
    return _headed(how, orjson.dumps(columns))


def read_request(payload: bytes) -> tuple[bytes, list[list[str | None]]]:
    """The plan of a request, as :func:`read_plan` takes it, and its columns."""
    start = LENGTH + int.from_bytes(payload[:LENGTH], "big")
    return payload[LENGTH:start], orjson.loads(memoryview(payload)[start:])


def read_plan(told: bytes) -> MaskPlan:
    """The plan of a request."""
    return MaskPlan(tuple(_column_plan(how) for how in orjson.loads(told)))


def reply(masked: Masked) -> bytes:
    """The payload that carries a masked answer."""
    return _headed(
        {"names": masked.names, "counts": [tuple(count) for count in masked.counts], "failed": masked.failed},
        masked.body_rows,
    )


def refusal(raised: BaseException) -> bytes:
    """The payload that says it could not be done: a class name, because an exception's text may quote a value."""
    return _headed({"error": type(raised).__name__}, b"")


def read_reply(payload: bytes | memoryview) -> Masked:
    """The masked answer.

    Raises:
        WorkerSaidNoError: the worker reported a failure.
    """
    size = int.from_bytes(payload[:LENGTH], "big")
    head: dict[str, Any] = orjson.loads(payload[LENGTH : LENGTH + size])
    if "error" in head:
        raise WorkerSaidNoError(head["error"])
    counts = tuple(MaskCount(*count) for count in head["counts"])
    return Masked(bytes(payload[LENGTH + size :]), tuple(head["names"]), counts, tuple(head["failed"]))


def _headed(head: object, body: bytes) -> bytes:
    written = orjson.dumps(head)
    return b"".join((len(written).to_bytes(LENGTH, "big"), written, body))


def _column_plan(how: dict[str, Any]) -> ColumnPlan:
    told = how["mask"]
    mask = told and ColumnMask(
        operator=Operator(told["operator"]),
        category=told["category"],
        entity=told["entity"],
        options=tuple((name, value) for name, value in told["options"]),
        constant=told["constant"],
    )
    return ColumnPlan(how["name"], how["type"], mask, how["scan"], frozenset(how["final"]))
