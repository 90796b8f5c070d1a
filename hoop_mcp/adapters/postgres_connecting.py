"""Why a database cannot be reached, in words: what happened and what to look at, never the address or the password.

The driver's own texts are not passed on: they quote the address, and a server's message may quote what was sent.
PostgreSQL's names and places of the codes: "PostgreSQL Error Codes", Appendix A.
"""

from __future__ import annotations

import socket
import ssl

import asyncpg

FORM = "the form of an address is postgresql://user@host:port/database?sslmode=…"
"""What an address looks like; libpq's ``key=value`` strings are another form, which the driver does not read."""

_STATES = {
    "28P01": "the server refuses the password",
    "28000": "the server does not let this login in from here: a role that does not exist or may not log in, or no "
    "line of pg_hba.conf that fits",
    "3D000": "the server has no database of the name in the address",
    "42501": "the login may not connect to that database",
    "53300": "the server has no connection left",
    "57P03": "the server is starting or stopping and takes nobody just now",
    "08P01": "what answers there does not speak as PostgreSQL does; a pooler may refuse the database or the login so",
    "0A000": "what answers there does not support what was asked",
}
_AUTHENTICATION = "the server asks for a password, or a way of proving who one is, that the address does not give"


def in_words(error: BaseException) -> str:
    """The cause of a failed connection."""
    state = getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None
    if state is not None:
        known = _STATES.get(str(state), "the server refuses the connection")
        return f"{known} (SQLSTATE {state})"
    return _cause(error)


def _cause(error: BaseException) -> str:
    name = type(error).__name__
    match error:
        case asyncpg.exceptions.ClientConfigurationError() | ValueError():
            # ssl.SSLCertVerificationError is a ValueError too.
            if isinstance(error, ssl.SSLError):
                return f"the server's certificate cannot be verified ({name})"
            return f"its address cannot be read: {FORM}, and libpq's key=value form is not understood"
        case asyncpg.InterfaceError():
            return f"{_AUTHENTICATION} ({name})"
        case ConnectionRefusedError():
            return f"nobody listens at the host and port of the address ({name})"
        case FileNotFoundError():
            return f"no server has a socket in the folder that the address names as host ({name})"
        case socket.gaierror():
            return f"no such host is known here ({name})"
        case TimeoutError():
            return f"nothing answered in time: a wrong host or port, or a firewall ({name})"
        case ssl.SSLError():
            return f"no encrypted connection could be agreed on ({name})"
        case PermissionError():
            return f"the operating system forbids the way there ({name})"
        case ConnectionError():
            return f"the connection was cut before the server let the login in ({name})"
        case OSError():
            return f"the network has no way there ({name})"
        case _:
            return name
