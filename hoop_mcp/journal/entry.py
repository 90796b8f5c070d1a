"""One entry, to the byte.

An entry is a JSON object in the canonical form of RFC 8785. Its bytes are hashed once, and that one hash is both the
link of the chain and the leaf of the Merkle tree (RFC 6962 2.1)::

    body_0 names prev = 64 zeros
    leaf_i = SHA-256(0x00 || body_i)
    body_i names prev = hex(leaf_(i-1)) and seq = i

Only the part of RFC 8785 whose bytes nobody can argue about is used: ASCII keys, integers that a double holds
exactly, no floats. What falls outside is refused when it is written, so that it never has to be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from hoop_mcp.errors import NotCanonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.terms import Event, JsonValue

FORMAT = 1
GENESIS = "0" * 64
OWN_KEYS = frozenset({"v", "seq", "prev", "ts", "mono", "boot", "kind", "session", "call", "parts"})
"""The keys of a body that are the journal's own; an event's clear part may not use them."""

_EXACT = 2**53 - 1  # RFC 8785 3.2.2.3 with RFC 7493 2.2: beyond it two readers may see two numbers
_DEEPEST = 32
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was written: wall clock and monotonic clock in microseconds, and which start of the process.

    The wall clock may step back; ``mono`` orders the entries of one ``boot`` all the same.
    """

    ts: int
    mono: int
    boot: str


@dataclass(frozen=True, slots=True)
class PartNote:
    """What a body says about one sealed part: enough to prove the ciphertext, nothing of the content.

    ``kid`` names the data key, ``digest`` is SHA-256(nonce || ciphertext) and ``commitment`` binds the one key that
    opens it, both in hex; ``length`` is the plaintext's, in bytes.
    """

    kid: str
    digest: str
    commitment: str
    length: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as read: its place, its clear body, its leaf hash in hex, and what it says of its sealed parts."""

    seq: int
    prev: str
    ts: int
    kind: str
    session: str | None
    call: str | None
    decision: str | None
    body: Mapping[str, Any]
    leaf: str
    parts: Mapping[str, PartNote]


def canonical(value: Mapping[str, JsonValue]) -> bytes:
    """The RFC 8785 bytes of a JSON object.

    Raises:
        NotCanonical: a key is not ASCII, a number is a float or beyond 2**53 - 1, a text is not Unicode scalar
            values, or the nesting is deeper than an entry ever needs.
    """
    if not _plain(value, 0):
        _check(value, "body", 0)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # The encoder's message may quote the value; the place cannot be named more closely without doing so.
        raise NotCanonical("body: a text holds a lone surrogate") from None


def leaf_hash(body: bytes) -> bytes:
    """RFC 6962 2.1: the hash of a leaf, kept apart from the hash of a node by its first byte."""
    return sha256(b"\x00" + body).digest()


def compose(event: Event, *, seq: int, prev: str, moment: Moment, parts: Mapping[str, PartNote]) -> bytes:
    """The canonical body of ``event`` at place ``seq`` after the leaf ``prev``.

    A key without a value (no call, no session, no parts) is left out.

    Raises:
        NotCanonical: the clear part uses a key of the journal's own, or has no canonical bytes.
    """
    taken = OWN_KEYS & event.clear.keys()
    if taken:
        raise NotCanonical(f"clear: the keys {', '.join(sorted(taken))} are the journal's own")
    body: dict[str, JsonValue] = {
        **event.clear,
        "v": FORMAT,
        "seq": seq,
        "prev": prev,
        "ts": moment.ts,
        "mono": moment.mono,
        "boot": moment.boot,
        "kind": event.kind.value,
    }
    if event.session is not None:
        body["session"] = event.session
    if event.call is not None:
        body["call"] = event.call
    if parts:
        body["parts"] = {
            name: {"k": part.kid, "ct": part.digest, "kc": part.commitment, "len": part.length}
            for name, part in parts.items()
        }
    return canonical(body)


def parse(body: bytes) -> Entry:
    """Read a body back, strictly: bytes that are not the canonical form of what they say are refused.

    Two readers could take a repeated key two ways; comparing with the canonical bytes rules that out.

    Raises:
        NotCanonical: not JSON, not canonical, or without the journal's own keys in their types.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotCanonical("the body is not JSON") from None
    if not isinstance(value, dict) or canonical(value) != body:
        raise NotCanonical("the body is not in canonical form")
    if value.get("v") != FORMAT:
        raise NotCanonical("the body is of a format this reader does not know")
    decision = value.get("decision")
    return Entry(
        seq=_integer(value, "seq"),
        prev=_hex(value, "prev"),
        ts=_integer(value, "ts"),
        kind=_text(value, "kind"),
        session=_text(value, "session") if "session" in value else None,
        call=_text(value, "call") if "call" in value else None,
        decision=decision if isinstance(decision, str) else None,
        body=value,
        leaf=leaf_hash(body).hex(),
        parts=_parts(value.get("parts", {})),
    )


def _plain(value: Mapping[str, JsonValue], depth: int) -> bool:
    """The quick answer for what is nearly always true; :func:`_check` judges the rest and can name the place."""
    if type(value) is not dict or depth >= _DEEPEST:
        return False
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            return False
        for one in item if type(item) is list else (item,):
            kind = type(one)
            if kind is str or one is None or kind is bool or (kind is int and -_EXACT <= one <= _EXACT):
                continue
            if kind is not dict or not _plain(one, depth + 2):
                return False
    return True


def _check(value: object, place: str, depth: int) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        if not -_EXACT <= value <= _EXACT:
            raise NotCanonical(f"{place}: an integer beyond 2**53 - 1")
        return
    if depth >= _DEEPEST:
        raise NotCanonical(f"{place}: nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise NotCanonical(f"{place}: a key is not ASCII text")
            _check(item, f"{place}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{place}[{index}]", depth + 1)
    else:
        raise NotCanonical(f"{place}: a {type(value).__name__} has no place in an entry")


def _integer(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key)
    if not isinstance(found, int) or isinstance(found, bool):
        raise NotCanonical(f"{key} is not an integer")
    return found


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise NotCanonical(f"{key} is not text")
    return found


def _hex(value: Mapping[str, Any], key: str) -> str:
    found = _text(value, key)
    if not _SHA256.match(found):
        raise NotCanonical(f"{key} is not a SHA-256 in lower-case hex")
    return found


def _parts(value: object) -> dict[str, PartNote]:
    if not isinstance(value, dict) or not all(isinstance(note, dict) for note in value.values()):
        raise NotCanonical("parts is not an object of objects")
    return {
        name: PartNote(_text(note, "k"), _hex(note, "ct"), _hex(note, "kc"), _integer(note, "len"))
        for name, note in value.items()
    }
