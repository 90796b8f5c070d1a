"""Sealing: what may be personal is encrypted before it is put anywhere.

One construction, for the parts of an entry under a data key and for data keys under the key file::

    n        = 24 random bytes
    okm      = HMAC-SHA-512(key, label || n || context)
    k, kc    = okm[0:32], okm[32:64]
    ct       = AES-256-GCM(key = k, iv = 12 zero bytes, plaintext, aad = context)
    digest   = SHA-256(n || ct)

``k`` is used once, since ``n`` is fresh, so the fixed IV repeats under no key (NIST SP 800-38D 8.2). ``kc`` commits to
the key: AES-GCM alone does not, and without it whoever writes the journal could make one ciphertext that opens to
two different texts under two keys. The context is where the part lies, so that nothing opens in another place.

Keys and random bytes are handed in; nothing here keeps them.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoop_mcp.errors import NotCanonical, SealBroken

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = 32
TAG_BYTES = 16
_NONCE_BYTES = 24
_PART_LABEL = b"hoop/seal/v1"
_WRAP_LABEL = b"hoop/wrap/v1"
_IV = bytes(12)
_PART_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z", re.ASCII)

Random: TypeAlias = "Callable[[int], bytes]"
"""Gives that many unpredictable bytes: ``secrets.token_bytes`` outside tests."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed part lies: which journal, which entry, which part. Nothing opens anywhere else."""

    origin: str
    seq: int
    part: str

    def context(self) -> bytes:
        """Unambiguous bytes: 2-byte length and origin, 8-byte seq (both big-endian), then the part's name.

        Raises:
            NotCanonical: the part's name is not one lower-case ASCII word of at most 32 characters.
        """
        if not _PART_NAME.match(self.part):
            raise NotCanonical("a sealed part's name is not a lower-case word")
        origin = self.origin.encode()
        return len(origin).to_bytes(2, "big") + origin + self.seq.to_bytes(8, "big") + self.part.encode()


@dataclass(frozen=True, slots=True)
class Box:
    """A sealed text: its nonce, its ciphertext with the tag, and the commitment to the key that opens it."""

    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    commitment: bytes

    @property
    def digest(self) -> bytes:
        """What the entry's body names, so that the ciphertext can be proved without any key."""
        return box_digest(self.nonce, self.ciphertext)


def box_digest(nonce: bytes, ciphertext: bytes) -> bytes:
    """SHA-256(nonce || ciphertext)."""
    return sha256(nonce + ciphertext).digest()


def seal(key: bytes, plaintext: bytes, place: Place, random: Random) -> Box:
    """Encrypt one part of an entry under a data key of 32 bytes."""
    return _close(key, plaintext, _PART_LABEL, place.context(), random)


def open_sealed(key: bytes, box: Box, place: Place) -> bytes:
    """Decrypt one part of an entry.

    Raises:
        SealBroken: another key, another journal, entry or part, altered bytes, or a commitment to another key.
    """
    return _open(key, box, _PART_LABEL, place.context())


def wrap_key(key_file_key: bytes, data_key: bytes, kid: str, random: Random) -> Box:
    """Encrypt a data key under the key file's key, bound to the name it will be known by."""
    return _close(key_file_key, data_key, _WRAP_LABEL, kid.encode(), random)


def unwrap_key(key_file_key: bytes, box: Box, kid: str) -> bytes:
    """Decrypt a data key.

    Raises:
        SealBroken: another key file, another name, or altered bytes.
    """
    return _open(key_file_key, box, _WRAP_LABEL, kid.encode())


def _close(key: bytes, plaintext: bytes, label: bytes, context: bytes, random: Random) -> Box:
    nonce = random(_NONCE_BYTES)
    inner, commitment = _derive(key, label, nonce, context)
    return Box(nonce, AESGCM(inner).encrypt(_IV, plaintext, context), commitment)


def _open(key: bytes, box: Box, label: bytes, context: bytes) -> bytes:
    if len(box.nonce) != _NONCE_BYTES:
        raise SealBroken("the sealed bytes are not of this form")
    inner, commitment = _derive(key, label, box.nonce, context)
    if not hmac.compare_digest(commitment, box.commitment):
        raise SealBroken("the sealed bytes do not open with this key in this place")
    try:
        return AESGCM(inner).decrypt(_IV, box.ciphertext, context)
    except InvalidTag:
        raise SealBroken("the sealed bytes do not open with this key in this place") from None


def _derive(key: bytes, label: bytes, nonce: bytes, context: bytes) -> tuple[bytes, bytes]:
    if len(key) != KEY_BYTES:
        raise SealBroken("a key is not 32 bytes long")
    okm = hmac.digest(key, label + nonce + context, "sha512")
    return okm[:32], okm[32:]
