"""Builds a running gate from settings."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.adapters.mask_worker import MaskWorker
from hoop_mcp.adapters.reading_worker import ReadingWorker
from hoop_mcp.gate import Gate
from hoop_mcp.identity.local import identify
from hoop_mcp.limits.allowance import Allowance
from hoop_mcp.terms import Event, EventKind
from hoop_mcp.wiring.governed import check_logins, check_names, open_databases
from hoop_mcp.wiring.journal import open_writer
from hoop_mcp.wiring.mask_key import mask_key
from hoop_mcp.wiring.naming import unknown_identity
from hoop_mcp.wiring.policies import load_governance
from hoop_mcp.wiring.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

ENGINE = "presidio-patterns, ner none"


@asynccontextmanager
async def open_gate(config: Path | None) -> AsyncIterator[Gate]:
    """Everything a server needs, opened in the order that fails soonest.

    Raises:
        SettingsError: settings, policies, catalogues or logins are not fit to serve; every fault at once.
        DatabaseUnavailable, JournalUnavailable: what the names say.
    """
    settings = load_settings(config)
    policies, catalogues = load_governance(settings)
    keys = Path(settings.journal.keys)
    journal = await asyncio.to_thread(open_writer, Path(settings.journal.path), keys)
    try:
        worker = await MaskWorker.start(key=await asyncio.to_thread(mask_key, keys))
        reading = ReadingWorker()
        try:
            async with open_databases(settings, catalogues) as databases:
                accepted = await check_logins(databases, settings.accepted_risks)
                for unknown in (*await check_names(settings, databases), *unknown_identity(settings, policies)):
                    log.warning("%s", unknown)
                await journal.record(
                    Event(
                        EventKind.POLICY_LOAD,
                        {
                            "policy": policies.digest,
                            "catalogues": {name: catalogue.digest for name, catalogue in sorted(catalogues.items())},
                            "policies": [policy.name for policy in policies.policies],
                            "accepted_risks": [f"{finding.login}: {finding.risk}" for finding in accepted],
                            "engine": ENGINE,
                        },
                    )
                )
                gate = Gate(
                    identify=partial(identify, roles=settings.local.roles, purposes=settings.local.purposes),
                    databases=databases,
                    policies=policies,
                    journal=journal,
                    masker=worker,
                    now=lambda: datetime.now(UTC),
                    engine=ENGINE,
                    reading=reading,
                    allowance=Allowance(settings.limits),
                )
                # What stands now stands until the end: the collector need not walk it during calls.
                gc.collect()
                gc.freeze()
                try:
                    yield gate
                finally:
                    await gate.close()
        finally:
            await reading.close()
            await worker.close()
    finally:
        await asyncio.to_thread(journal.close)
