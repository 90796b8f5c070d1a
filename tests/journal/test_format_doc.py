"""docs/journal-format.md against the program, and a reader written from that page alone against a real journal."""

import hashlib
import hmac
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoop_mcp.adapters.journal_file import sqlite
from hoop_mcp.journal.entry import GENESIS, Moment, PartNote, compose, leaf_hash
from hoop_mcp.journal.seal import Place, seal
from hoop_mcp.terms import Event, EventKind

PAGE = Path(__file__).parents[2] / "docs" / "journal-format.md"
ORIGIN = "hoop-mcp/000102030405060708090a0b0c0d0e0f"
DATA_KEY, NONCE, PLAINTEXT = bytes(range(32)), bytes(range(24)), b"SELECT 1"
KID = "sql.2026-W47.1f0c9a52"


def example():
    """Every value that the page's example shows."""
    start = Event(EventKind.BOOT, {"origin": ORIGIN})
    first = compose(start, seq=0, prev=GENESIS, moment=Moment(1795500000000000, 1, "00112233445566aa"), parts={})
    box = seal(DATA_KEY, PLAINTEXT, Place(ORIGIN, 1, "sql"), lambda size: NONCE[:size])
    second = compose(
        Event(EventKind.INTENT, {"tool": "query"}, call="c1"),
        seq=1,
        prev=leaf_hash(first).hex(),
        moment=Moment(1795500000000007, 8, "00112233445566aa"),
        parts={"sql": PartNote(KID, box.digest.hex(), box.commitment.hex(), len(PLAINTEXT))},
    )
    return {
        "body_0": first.decode(),
        "leaf_0": leaf_hash(first).hex(),
        "body_1": second.decode(),
        "leaf_1": leaf_hash(second).hex(),
        "data_key": DATA_KEY.hex(),
        "nonce": NONCE.hex(),
        "plaintext": PLAINTEXT.decode(),
        "ct": box.ciphertext.hex(),
        "kc": box.commitment.hex(),
    }


def test_the_pages_example_is_what_the_program_writes():
    page = PAGE.read_text("utf-8")
    for name, value in example().items():
        assert value in page, f"{name} should read {value}"


def test_every_kind_of_entry_is_on_the_page():
    page = PAGE.read_text("utf-8")
    for kind in EventKind:
        assert f"| `{kind.value}` |" in page


def audit(path):
    """Steps 1 to 6 of the page, with nothing but a JSON parser and SHA-256; the origin and the sealed rows' keys."""
    db = sqlite.connect(str(path))
    prev, origin, named = "0" * 64, None, {}
    entries = db.execute("SELECT seq, ts, kind, session, call, decision, body, leaf FROM entry ORDER BY seq").fetchall()
    assert entries
    for place, (seq, ts, kind, session, call, decision, body, leaf) in enumerate(entries):
        said = json.loads(body)
        assert body == json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert seq == place == said["seq"]
        assert leaf == hashlib.sha256(b"\x00" + body).digest()
        assert said["prev"] == prev
        assert (ts, kind, session, call) == (said["ts"], said["kind"], said.get("session"), said.get("call"))
        assert decision == said.get("decision")
        if kind == "boot":
            origin = origin or said["origin"]
            assert said["origin"] == origin
        prev = leaf.hex()
        for slot, (part, note) in enumerate(sorted(said.get("parts", {}).items())):
            named[64 * seq + slot] = (seq, part, note)
    rows = db.execute("SELECT id, seq, part, kid, n, ct FROM sealed").fetchall()
    db.close()
    assert {row[0] for row in rows} == named.keys()
    for number, seq, part, kid, n, ct in rows:
        note = named[number][2]
        assert (seq, part, kid) == (*named[number][:2], note["k"])
        assert hashlib.sha256(n + ct).hexdigest() == note["ct"]
        assert len(ct) == note["len"] + 16
    return origin, [(seq, part, kid, n, ct, named[number][2]["kc"]) for number, seq, part, kid, n, ct in rows]


def unseal(key, label, n, place, ct, kc):
    okm = hmac.digest(key, label + n + place, "sha512")
    assert okm[32:] == kc
    return AESGCM(okm[:32]).decrypt(bytes(12), ct, place)


def test_a_reader_written_from_the_page_verifies_and_opens_a_journal(filled, tmp_path):
    shutil.copyfile(filled.path, tmp_path / "journal.db")
    origin, sealed = audit(tmp_path / "journal.db")
    key_file = bytes.fromhex((filled.keys / "journal.key").read_text())
    opened = []
    for seq, part, kid, n, ct, kc in sealed:
        wrapped = json.loads((filled.keys / f"{kid}.key").read_text())
        box = {name: bytes.fromhex(wrapped[name]) for name in ("n", "ct", "kc")}
        data_key = unseal(key_file, b"hoop/wrap/v1", box["n"], kid.encode(), box["ct"], box["kc"])
        place = len(origin).to_bytes(2, "big") + origin.encode() + seq.to_bytes(8, "big") + part.encode()
        opened.append((part, unseal(data_key, b"hoop/seal/v1", n, place, ct, bytes.fromhex(kc))))
    assert len(opened) == 60
    assert ("sql", b"SELECT 7") in opened


def test_the_reader_written_from_the_page_finds_an_edit(copied):
    copied.tamper("UPDATE entry SET kind = 'refusal' WHERE seq = 10")
    with pytest.raises(AssertionError):
        audit(copied.path)
