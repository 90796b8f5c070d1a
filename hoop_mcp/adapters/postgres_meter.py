"""What one request may bring back from the server, counted where the bytes arrive.

One row can be a gigabyte (``string_agg`` over a cross join), and so can one notice; the driver hands over a message only
when it has all of it, so that counting what it hands over comes too late. The meter stands between the transport and the
driver, as asyncio lets any protocol stand there (``Transport.set_protocol``, which the driver itself uses after TLS): it
passes bytes on and counts them, and at the limit it drops the connection. Over TLS it counts what was decrypted.

Direction: the connection is lost, and with it what was kept on it. A server that holds one answer too many is worse.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg


class Meter(asyncio.Protocol):
    """Counts the bytes since :meth:`allow`; ``tripped`` tells a dropped connection from a lost one."""

    def __init__(self, inner: Any, transport: asyncio.Transport) -> None:
        self._inner = inner
        self._transport = transport
        self._left: int | None = None
        self.tripped = False

    @classmethod
    def on(cls, connection: asyncpg.Connection) -> Meter:
        """Put a meter on an open connection; nothing is limited until :meth:`allow`."""
        # The transport and the protocol of a connection are private to the driver, whose version is pinned.
        transport, inner = connection._transport, connection._protocol  # noqa: SLF001 - see above
        meter = cls(inner, transport)
        transport.set_protocol(meter)
        return meter

    def allow(self, size: int) -> None:
        """From now on *size* bytes may arrive."""
        self._left = size

    def data_received(self, data: bytes) -> None:
        """Pass on, or drop the connection."""
        if self.tripped:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.tripped = True
                self._transport.abort()
                return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """As the driver has it."""
        keep_open: bool | None = self._inner.eof_received()
        return keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        """As the driver has it."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """As the driver has it."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """As the driver has it."""
        self._inner.resume_writing()
