import itertools
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoop_mcp.errors import NotCanonical, SealBroken
from hoop_mcp.journal.seal import Box, Place, open_sealed, seal, unwrap_key, wrap_key

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PLACE = Place("hoop-mcp/aa", 7, "sql")
TEXT = b"SELECT * FROM customers WHERE email = 'ana@x.example'"


def counting():
    numbers = itertools.count()
    return lambda size: next(numbers).to_bytes(size, "big")


def test_a_sealed_part_opens_where_it_lies_with_its_key():
    assert open_sealed(KEY, seal(KEY, TEXT, PLACE, counting()), PLACE) == TEXT


@pytest.mark.parametrize(
    "place",
    [
        Place("hoop-mcp/aa", 8, "sql"),
        Place("hoop-mcp/aa", 7, "identity"),
        Place("hoop-mcp/ab", 7, "sql"),
        Place("hoop-mcp/a", 7, "sql"),
    ],
)
def test_a_sealed_part_opens_nowhere_else(place):
    box = seal(KEY, TEXT, PLACE, counting())
    with pytest.raises(SealBroken):
        open_sealed(KEY, box, place)


def test_another_key_does_not_open_it():
    with pytest.raises(SealBroken):
        open_sealed(OTHER, seal(KEY, TEXT, PLACE, counting()), PLACE)


def test_any_flipped_bit_keeps_it_shut():
    box = seal(KEY, TEXT, PLACE, counting())
    for name in ("nonce", "ciphertext", "commitment"):
        value = getattr(box, name)
        for at in range(len(value)):
            parts = {"nonce": box.nonce, "ciphertext": box.ciphertext, "commitment": box.commitment}
            parts[name] = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            with pytest.raises(SealBroken):
                open_sealed(KEY, Box(**parts), PLACE)


def test_the_commitment_refuses_a_ciphertext_that_the_cipher_alone_would_open():
    """Teeth: AES-GCM opens this box; only the commitment, made for another key, says no."""
    box = seal(KEY, TEXT, PLACE, counting())
    committed_elsewhere = Box(box.nonce, box.ciphertext, seal(OTHER, TEXT, PLACE, counting()).commitment)
    from hoop_mcp.journal.seal import _derive

    inner, _ = _derive(KEY, b"hoop/seal/v1", box.nonce, PLACE.context())
    assert AESGCM(inner).decrypt(bytes(12), box.ciphertext, PLACE.context()) == TEXT
    with pytest.raises(SealBroken):
        open_sealed(KEY, committed_elsewhere, PLACE)


def test_sealing_the_same_twice_shows_no_likeness():
    first, second = (seal(KEY, TEXT, PLACE, secrets.token_bytes) for _ in range(2))
    assert first.nonce != second.nonce
    assert first.ciphertext != second.ciphertext
    assert first.commitment != second.commitment


def test_a_box_and_an_error_show_nothing_of_the_text():
    box = seal(KEY, TEXT, PLACE, counting())
    assert "ana" not in repr(box)
    with pytest.raises(SealBroken) as broken:
        open_sealed(OTHER, box, PLACE)
    assert KEY.hex() not in str(broken.value)


def test_a_data_key_unwraps_under_its_own_name_and_key_file_only():
    box = wrap_key(KEY, OTHER, "sql.2026-W47.aa", counting())
    assert unwrap_key(KEY, box, "sql.2026-W47.aa") == OTHER
    for key, kid in ((OTHER, "sql.2026-W47.aa"), (KEY, "sql.2026-W48.aa")):
        with pytest.raises(SealBroken):
            unwrap_key(key, box, kid)


def test_a_part_and_a_data_key_are_sealed_apart():
    place = Place("", 0, "a")
    box = seal(KEY, OTHER, place, counting())
    with pytest.raises(SealBroken):
        unwrap_key(KEY, box, place.context().decode("latin-1"))


@pytest.mark.parametrize("name", ["", "SQL", "../key", "a.b", "sql\n", "1sql", "a" * 33, "größe"])
def test_a_part_has_a_plain_name(name):
    with pytest.raises(NotCanonical):
        seal(KEY, TEXT, Place("o", 0, name), counting())


@pytest.mark.parametrize("key", [b"", b"short", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(key):
    with pytest.raises(SealBroken):
        seal(key, TEXT, PLACE, counting())
