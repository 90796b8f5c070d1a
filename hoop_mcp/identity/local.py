"""The principal of a process on this machine: the operating system's account, and nothing it says of itself.

On stdio the client started the server, so both run as one account; that account is the only fact nobody on the
wire can choose. The client's own name is kept for the record and opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused
from hoop_mcp.terms import Mandate, Principal

if TYPE_CHECKING:
    from hoop_mcp.terms import Credential

LOCAL_TRANSPORT = "stdio"


def identify(credential: Credential, roles: tuple[str, ...], purposes: tuple[str, ...]) -> Principal:
    """The principal behind a local transport.

    ``roles`` and ``purposes`` are what settings give local callers (``identity.local``). The actor is always an
    agent: a person who pipes JSON into the server by hand gets no more than an agent would.

    Raises:
        Refused: HOOP101 when the transport is not local, proved no account, or settings name no local caller.
    """
    if credential.transport != LOCAL_TRANSPORT:
        # Settings for local callers must never speak for someone who came over a network.
        raise Refused("HOOP101", "This transport proved nobody, and local settings hold for stdio only.")
    if not credential.os_user:
        raise Refused("HOOP101", "The operating system named no account for this process.")
    if not roles and not purposes:
        raise Refused("HOOP101", "Settings give local callers neither a role nor a purpose.")
    return Principal(
        ident=f"local:{credential.os_user}",
        actor="agent",
        roles=tuple(sorted(set(roles))),
        purposes=tuple(sorted(set(purposes))),
        session=credential.session,
        client=credential.client,
        source=credential.source,
    )


def mandate(principal: Principal, role: str | None, purpose: str | None) -> Mandate:
    """The one role and the one purpose a call runs under: those named, else the only ones held.

    Raises:
        Refused: HOOP102 for the role, HOOP103 for the purpose (GDPR Art. 5(1)(b): data is processed for a purpose,
            so several held and none named is no purpose). The refusal lists what is held, never what was asked for.
    """
    return Mandate(
        role=_one("role", "HOOP102", role, principal.roles),
        purpose=_one("purpose", "HOOP103", purpose, principal.purposes),
    )


def _one(what: str, code: str, named: str | None, held: tuple[str, ...]) -> str:
    listed = ", ".join(held)
    if not held:
        raise Refused(code, f"You hold no {what}.", f"Ask the operator to give this account a {what} in hoop.yaml.")
    if named is None and len(held) > 1:
        raise Refused(code, f"You hold several {what}s and named none.", f"Pass {what} as one of: {listed}.")
    if named is None:
        return held[0]
    if named not in held:
        raise Refused(code, f"You do not hold the {what} you named.", f"Pass {what} as one of: {listed}.")
    return named
