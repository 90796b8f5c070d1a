"""The mask worker's process: frames in on fd 0, frames out on fd 1 (one socket), nothing else.

It is given no environment, no arguments and no credentials; the pseudonym key comes as the first frame. It writes no
log: what fails is told to the parent by class name. It ends when its input ends, so it never outlives the server.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

from hoop_mcp.adapters.framed_process import confine, read_frame, write_all
from hoop_mcp.masking import wire

if TYPE_CHECKING:
    from hoop_mcp.masking.detect import Detector
    from hoop_mcp.masking.plan import MaskPlan

MEMORY_LIMIT = 4 << 30
"""Bytes of address space (RLIMIT_AS): generous for a large answer, far below what would trouble the machine."""

LARGE_ANSWER = 1 << 20

READ_AT_ONCE = 256 << 10

KNOWN_PLANS, LARGE_PLAN = 256, 16 << 10
"""How many plans are kept as they were read (when one more comes, all are forgotten), and up to how many bytes."""


def main() -> None:
    """Serve until the input ends."""
    replies = confine(MEMORY_LIMIT)
    requests = os.fdopen(0, "rb", buffering=READ_AT_ONCE)
    key = read_frame(requests)
    if key is None:
        return
    detector = _warm(key)
    known: dict[bytes, MaskPlan] = {}
    write_all(replies, wire.frame(b"ready"))
    while (payload := read_frame(requests)) is not None:
        answer = _answer(payload, detector, key, known)
        write_all(replies, wire.frame(answer))
        if len(answer) > LARGE_ANSWER:
            del payload, answer
            gc.collect()


def _warm(key: bytes) -> Detector:
    """Load detection, build its automata, and take what stands out of the collector's sight."""
    from hoop_mcp.masking.apply import mask_columns  # noqa: PLC0415 - loaded in this process, after its limits are set
    from hoop_mcp.masking.detect import Detector  # noqa: PLC0415 - loaded in this process, after its limits are set
    from hoop_mcp.masking.plan import ColumnPlan, MaskPlan  # noqa: PLC0415 - loaded in this process, after its limits are set

    detector = Detector()
    plan = MaskPlan((ColumnPlan("notes", "text", scan=True), ColumnPlan("payload", "jsonb", scan=True)))
    for _ in range(2):
        mask_columns(plan, [SAMPLES, [f'{{"note": "{text}"}}' for text in SAMPLES]], finder=detector, key=key)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection in the middle of a large answer doubles its time; one runs after it instead
    return detector


def _answer(payload: bytes, detector: Detector, key: bytes, known: dict[bytes, MaskPlan]) -> bytes:
    """Apply a plan. Plans whose names hold nothing personal are known from then on, and their names read no more.

    Any other names are the agent's text with something of somebody's in it: they are not kept.
    """
    from hoop_mcp.masking.apply import mask_columns  # noqa: PLC0415 - loaded in this process, after its limits are set

    try:
        told, columns = wire.read_request(payload)
        plan = known.get(told)
        if plan is not None:
            return wire.reply(mask_columns(plan, columns, finder=detector, key=key, names_are_clean=True))
        plan = wire.read_plan(told)
        masked = mask_columns(plan, columns, finder=detector, key=key)
        if len(told) <= LARGE_PLAN and masked.names == tuple(column.name for column in plan.columns):
            if len(known) >= KNOWN_PLANS:
                known.clear()
            known[told] = plan
        return wire.reply(masked)
    except MemoryError:
        raise  # no telling what is half done: the server starts a new worker
    except Exception as raised:
        return wire.refusal(raised)


SAMPLES = tuple(
    shape.format(n=n, m=97 * n % 1000, k=7919 * n % 10_000)
    for n in range(100, 140)
    for shape in (
        "Customer {n} called about order {m}-{k}, phone +49 30 {n}{k}, mail a.{m}@example.org, thanks.",
        "Invoice INV-{n}{m} of 2024-01-1: {m},{k:02} EUR to DE89 3704 0044 0532 0130 00, card 4111 1111 1111 {k}",
        "Fehler im Modul Abrechnung, Version {n}.{m}; Teléfono 0{n} {m} {k}; Straße {n}, IP 10.{m}.1.2, id {k}{n}{m}A",
        "fe80::{n}:{m} 00:1a:2b:aa:bb:cc 123-45-{k} AB{n}{m}C {n}{m}{k}X passport account number {k}{n}{m}",
    )
)
"""Texts of many shapes, none of anybody: RE2 builds its automata while reading, and the first call should not wait."""


if __name__ == "__main__":
    main()
