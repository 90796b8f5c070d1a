"""Whether what travels to a database can be read, or answered by somebody else, on the way.

Judged by the address alone, as libpq reads it (PostgreSQL, "SSL Support"): over anything but a Unix socket or the
loopback interface only ``sslmode=verify-full`` both encrypts and makes sure who answers. The direction is deliberate:
``require`` and ``verify-ca`` encrypt, and hand the password and the data to whoever stands in the middle.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from hoop_mcp.adapters.postgres_checks import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping


def transport_findings(dsn: str, login: str, environment: Mapping[str, str] = os.environ) -> tuple[Finding, ...]:
    """What is wrong with the way to the server; never a part of the address but its sslmode.

    Args:
        dsn: the address, with its password; nothing of it is kept or told.
        login: what to call the login: "clean" or "full".
        environment: where the driver looks for what the address does not say.
    """
    options = {name: values[-1] for name, values in parse_qs(urlsplit(dsn).query).items()}
    hosts = _hosts(dsn, options, environment)
    mode = options.get("sslmode") or options.get("ssl") or environment.get("PGSSLMODE") or "prefer"
    if all(map(_stays_here, hosts)) or mode == "verify-full":
        return ()
    what = f"crosses a network with sslmode={mode if mode in _MODES else 'unknown'}"
    mend = "add sslmode=verify-full to its address, and sslrootcert=PATH where the server's CA is not a public one"
    return (Finding(login, "unencrypted-connection", what, mend),)


_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _hosts(dsn: str, options: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    place = urlsplit(dsn).netloc.rpartition("@")[2]
    named = [_without_port(host) for host in place.split(",") if _without_port(host)]
    if not named:
        named = [host for host in options.get("host", environment.get("PGHOST", "")).split(",") if host]
    return [unquote(host) for host in named]  # none named: the driver tries the local socket and then localhost


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _stays_here(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: wherever it leads
