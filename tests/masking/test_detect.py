from __future__ import annotations

import json
import logging
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from presidio_analyzer import predefined_recognizers as shipped

from hoop_mcp.masking import detect, recognizers, views
from hoop_mcp.masking.detect import DetectionFailedError, Detector
from hoop_mcp.masking.gates import Gates
from hoop_mcp.masking.recognizers import IBAN, PHONE, RULES, Evidence
from hoop_mcp.masking.spans import replaced

VALUES = json.loads((Path(__file__).parent / "data" / "values.json").read_text(encoding="utf-8"))


def entities(detector, text, name="", **more):
    return [span.entity for span in detector.scan(name, [text], **more)[0]]


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("write to joe@corp.local", "EMAIL_ADDRESS"),  # no public suffix
        ('"joe doe"@example.com', "EMAIL_ADDRESS"),
        ("x joe@[10.0.0.1] x", "EMAIL_ADDRESS"),
        ("DE89 3704 0044 0532 0130 00 und mehr Worte", "IBAN_CODE"),
        ("ibande89370400440532013000", "IBAN_CODE"),
        ("4111 1111 1111 1111", "CREDIT_CARD"),
        ("2222915099995794", "CREDIT_CARD"),  # the 2-series
        ("call 0171 2345678: urgent", "PHONE_NUMBER"),
        ("2 x +49 30 901820", "PHONE_NUMBER"),
        ("(450)664-8151", "PHONE_NUMBER"),
        ("tel 001-430-988-6463x2300", "PHONE_NUMBER"),
        ("706-78-8495", "US_SSN"),
        ("AB 12 34 56 C", "UK_NINO"),
        ("54769630Y", "ES_NIF"),
        ("RSSMRA85T10A562S", "IT_FISCAL_CODE"),
        ("131052-308T", "FI_PERSONAL_IDENTITY_CODE"),
        ("278016626048691", "FR_NIR"),
        ("from 10.7.1.254", "IP_ADDRESS"),
        ("fe80::1ff:fe23:4567:890a", "IP_ADDRESS"),
        ("aa:bb:cc:dd:ee:ff", "MAC_ADDRESS"),
    ],
)
def test_an_entity_is_found_in_a_single_cell(detector, text, entity):
    assert entities(detector, text) == [entity]


@pytest.mark.parametrize(
    "text",
    ["SKU-135843-C", "7.4.39", "2022-09-28 15:13:34", "2022-09-28 15 o'clock", "7537405366", "INV-7683912", "std::map",
     "1.234.567 EUR", "f932146f7a0b31e9d884764ba75287794e1206e8", "3b241101-e2bb-4255-8caf-4136c566a962", "joe@host",
     "1Z8K38G0C7E9DAEC67", "Austin Sofa 2024", "12/2024", "100,000,000"],
)  # fmt: skip
def test_what_is_not_personal_stays(detector, text):
    assert entities(detector, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "j\u200boe@example.com",  # zero width
        "joe\u00ad@example.com",  # soft hyphen
        "joe\\u0040example.com",
        "joe%40example.com",
        "joe&#64;example.com",
        "joe@exam\x00ple.com",
        "\uff4a\uff4f\uff45\uff20\uff45\uff58.com",  # fullwidth
        "FR76\u00a03000\u00a06000\u00a00112\u00a03456\u00a07890\u00a0189",  # no-break spaces
        "+49\u202f30\u202f901820",
        "706\u201178\u20118495",  # no-break hyphen
        "\u0664\u0661\u0661\u0661 1111 1111 1111",  # Arabic-Indic digits
    ],
)
def test_other_spellings_of_the_same_characters_are_seen_through(detector, text):
    assert len(entities(detector, text)) == 1


def test_a_cue_in_the_column_name_makes_weak_evidence_count(detector):
    assert entities(detector, "123456789", "c0") == []
    assert entities(detector, "123456789", "us_passport") == ["US_PASSPORT"]
    assert entities(Detector(use_names=False), "123456789", "us_passport") == []


def test_a_cue_in_the_words_before_makes_weak_evidence_count_and_elsewhere_does_not(detector):
    assert entities(detector, "her passport 123456789 expired") == ["US_PASSPORT"]
    assert entities(detector, "123456789" + " and so on" * 12 + " passport") == []


def test_a_cue_is_a_whole_word(detector):
    """Presidio's own matching takes "lic" in "public" for a licence."""
    assert entities(detector, "A123456", "public_code") == []


def test_a_checksum_that_proves_nothing_for_a_cell_proves_a_column(detector):
    nhs = [
        "4010232137",
        "9434765919",
        "9876543210",
        "4505577104",
        "5990128088",
        "1234567881",
        "2983396339",
        "6328797966",
    ]
    nhs += ["4857773456", "3701959886", "7000000007", "8888888888"]
    valid = [number for number in nhs if shipped.NhsRecognizer().validate_result(number)]
    column = valid + [f"{n:010}" for n in range(10**9, 2 * 10**9, 7919) if _mod11(f"{n:010}")][: 20 - len(valid)]
    assert all(spans for spans in detector.scan("c0", column))
    assert not any(detector.scan("c0", column[:3]))


def _mod11(digits):
    return shipped.NhsRecognizer().validate_result(digits) is True


def test_final_entities_stay_and_everything_else_in_the_cell_goes(detector):
    text = "joe@example.com paid with 4111 1111 1111 1111"
    assert entities(detector, text, skip=frozenset({"EMAIL_ADDRESS"})) == ["CREDIT_CARD"]
    # Without the final entity both go: the line above depends on it.
    assert entities(detector, text) == ["EMAIL_ADDRESS", "CREDIT_CARD"]


def test_cells_of_one_column_never_run_into_each_other(detector):
    cells = ["joe", "@example.com", "41111111", "11111111", "x\n\0\ny", "aa:bb:cc:", "dd:ee:ff"]
    assert not any(detector.scan("", cells))


def test_nothing_presidio_finds_in_a_single_cell_is_lost(detector):
    """Every recognizer of ours that stands alone, and Presidio's own e-mail, IBAN and phone, against the column scan.

    The one exception is deliberate: ten bare digits without a cue, which Presidio takes for an American phone.
    """
    oracles = [
        (rule, getattr(shipped, rule.recognizer)(supported_language=rule.language))
        for rule in RULES
        if rule.evidence is not Evidence.CUE
    ]
    compared = 0
    for text, spans in zip(VALUES, detector.scan("", VALUES), strict=True):
        covered = {i for span in spans for i in range(span.start, span.end)}
        finds = [
            (find, text[find.start : find.end])
            for rule, oracle in oracles
            for find in oracle.analyze(text, [rule.entity], None)
            if find.score >= rule.floor
            and not (rule.evidence is Evidence.APART and text[find.start : find.end].isalnum())
        ]
        for entity, oracle in ((IBAN, shipped.IbanRecognizer()), (PHONE, shipped.PhoneRecognizer())):
            finds += [
                (find, found)
                for find in oracle.analyze(text, [entity], None)
                if not ((found := text[find.start : find.end]).isdigit() and found[0] != "0")
            ]
        for find, found in finds:
            compared += 1
            assert covered.issuperset(range(find.start, find.end)), (find.entity_type, found)
    assert compared > 100


def test_every_gate_opens_for_what_its_recognizer_matches():
    """Matches drawn from Presidio's own patterns, each asked of the gate that would have had to let it through."""
    rules = [rule for rule in RULES if rule.entity not in {"IP_ADDRESS", "UK_POSTCODE", "IT_FISCAL_CODE"}]
    gates = Gates([rule.gate for rule in rules])

    def asks(pattern, rule, n):
        recognizer = getattr(shipped, rule.recognizer)(supported_language=rule.language)
        compiled = detect.regex.compile(pattern.regex, recognizer.global_regex_flags)

        @settings(max_examples=8, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.from_regex(pattern.regex, alphabet=st.characters(max_codepoint=126, min_codepoint=32)))
        def opens(text):
            matches = [
                match
                for match in compiled.finditer(text)
                if not rule.bounded
                or not (
                    text[match.start() - 1 : match.start()].isalnum() or text[match.end() : match.end() + 1].isalnum()
                )
            ]
            assert not matches or n in gates.open(text), (rule.entity, text)

        opens()

    for n, rule in enumerate(rules):
        for pattern in getattr(shipped, rule.recognizer)(supported_language=rule.language).patterns:
            if "(?i)" not in pattern.regex and "(?=" not in pattern.regex:
                asks(pattern, rule, n)


def test_the_gates_of_the_longest_patterns_open_too(detector):
    """Those the property above leaves out, by example."""
    for text, entity in [
        ("::ffff:10.0.0.1", "IP_ADDRESS"),
        ("2001:db8::1", "IP_ADDRESS"),
        ("1:2:3:4:5:6:7:8", "IP_ADDRESS"),
        ("RSSMRA85T10A562S", "IT_FISCAL_CODE"),
        ("RSSMRAURTMLARSNL", "IT_FISCAL_CODE"),  # every digit replaced, as the law provides for namesakes
    ]:
        assert entities(detector, text) in ([entity], []), text
        oracle = {"IP_ADDRESS": shipped.IpRecognizer, "IT_FISCAL_CODE": shipped.ItFiscalCodeRecognizer}[entity]()
        if oracle.analyze(text, [entity], None):
            assert entities(detector, text) == [entity]
    assert entities(detector, "12 SW1A 1AA", "postcode") == ["UK_POSTCODE"]


SHAPES = st.sampled_from(
    """706-78-8495 54769630Y RSSMRA85T10A562S 131052-308T 278016626048691 10.7.1.254 fe80::1 aa:bb:cc:dd:ee:ff
    4010232137 123456789 DE89370400440532013000 4111111111111111 joe@example.com joe%40example.com A12345678
    +49-30-901820 passport nhs 76543210001 61234567890123456 8501011234567 a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6""".split()  # noqa: SIM905 - a list of words reads best as words
)
PIECES = st.lists(SHAPES | st.text(max_size=6), max_size=4).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | SHAPES, min_size=1, max_size=8))
def test_what_opens_for_a_text_opens_for_the_block_it_stands_in(detector, texts):
    of_block = set(detector._gates.open("\n".join(texts)))
    for text in texts:
        assert of_block.issuperset(detector._gates.open(text))


def test_a_gate_that_knows_a_newline_from_an_edge_would_be_lost_in_a_block():
    """The law above depends on how gates are written."""
    gates = Gates([r"\Ab"])
    assert gates.open("b") == [0]
    assert gates.open("a\nb") == []


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, min_size=2, max_size=detect.VOTE_LEAST - 1, unique=True))
def test_a_cell_is_read_the_same_alone_and_in_a_column(detector, texts):
    assert detector.scan("", texts) == [detector.scan("", [text])[0] for text in texts]


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 64, 200])
@pytest.mark.parametrize("every", [1, 2, 40, 1000])
@pytest.mark.parametrize("length", [0, 300])
def test_a_text_worth_yielding_is_yielded_in_every_block(size, every, length):
    gates = Gates(["a", "b", "c"], [[0], [1, 2]])
    texts = [("abc"[n % 3] if n % every == every - 1 else "-") + "." * length for n in range(size)]
    seen = {(i, gate) for which, opened in gates.sift(texts, worth=frozenset({0, 2})) for i in which for gate in opened}
    expected = {(i, "ac".index(text[0]) * 2) for i, text in enumerate(texts) if text[0] in "ac"}
    assert {(i, gate) for i, gate in seen if gate != 1} == expected
    loose = [which for which, _ in gates.sift(texts, worth=frozenset({0, 2}), loose=frozenset({0}))]
    assert {i for i, _ in expected} <= {i for which in loose for i in which}


def test_every_gate_is_in_exactly_one_set():
    gates = [gate for gates in detect._gate_sets() for gate in gates]
    assert sorted(gates) == list(range(len(RULES) + len(recognizers.OWN_GATES) + 3))


def test_every_look_alike_is_swapped_and_none_hides_another_view():
    for point, plain in views._swaps().items():
        assert views.in_place(chr(point)) == plain
        assert views.decoded(chr(point)) in {None, plain}


def test_gates_in_sets_of_their_own_do_not_multiply_each_others_states():
    """On identifiers never seen before, RE2 spends its time building automata: the product of a set's patterns."""
    patterns = [rule.gate for rule in RULES] + [gate for _, gate in recognizers.OWN_GATES]
    apart = [[n for n in gates if n < len(patterns)] for gates in detect._gate_sets()]
    cells = [f"{0x9E3779B97F4A7C15F39CC0605CEDC835 * n % (1 << 106):032x}" for n in range(1, 1001)]

    def seconds(gates):
        began = time.process_time()
        for cell in cells:
            gates.open(cell)
        return time.process_time() - began

    assert seconds(Gates(patterns, apart)) < seconds(Gates(patterns)) / 2


PLANTED = [
    ("joe.doe+x@mail.example.org", "joe.doe+x@"),
    ("DE89370400440532013000", "0440532013"),
    ("GB82 WEST 1234 5698 7654 32", "5698 7654"),
    ("4111-1111-1111-1111", "1111-1111"),
    ("5555555555554444", "5555555555"),
    ("+49 171 2345678", "171 2345678"),
    ("(212) 555-0123", "555-0123"),
]
AROUND = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=150, deadline=None)
@given(AROUND, st.sampled_from(PLANTED), AROUND, st.sampled_from([" ", "\n", ", ", "; ", " (", "\t", " = "]))
def test_a_planted_value_never_comes_out_raw_whatever_stands_around_it(detector, before, planted, after, gap):
    value, core = planted
    text = f"{before}{gap}{value} {after}"
    spans = detector.scan("", [text])[0]
    assert core not in replaced(text, spans)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(), max_size=20, unique=True))
def test_any_text_is_read_and_spans_are_disjoint_and_inside(detector, texts):
    for text, spans in zip(texts, detector.scan("x", texts), strict=True):
        at = 0
        for span in spans:
            assert at <= span.start < span.end <= len(text)
            at = span.end


@pytest.mark.parametrize(
    "text", ["a." * 100_000, "1 " * 30_000, "@" * 50_000, "1" * 200_000, "A1" * 100_000, "x" * 10**6]
)
def test_a_huge_cell_of_a_hostile_shape_is_read_in_time(detector, text):
    assert detector.scan("", [text]) is not None


def test_a_pattern_out_of_time_is_an_error_and_not_a_clean_text(detector, monkeypatch):
    class Slow:
        def finditer(self, text, timeout):
            raise TimeoutError(text)
            yield

    slow = Detector()
    ssn = next(n for n, rule in enumerate(RULES) if rule.entity == "US_SSN")
    broken = slow._rules[ssn]._replace(patterns=((Slow(), 0.5, True),))
    slow._rules = (*slow._rules[:ssn], broken, *slow._rules[ssn + 1 :])
    with pytest.raises(DetectionFailedError) as raised:
        slow.scan("", ["706-78-8495"])
    assert "706" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_engine_that_gives_up_is_an_error_and_not_a_clean_text():
    gates = Gates(["x", "y"], [[0], [1]])
    gates._sets[1]._match = lambda _text: []
    with pytest.raises(DetectionFailedError):
        gates.open("anything")
    for texts in (["anything"], ["anything", "else"]):
        with pytest.raises(DetectionFailedError):
            list(gates.sift(texts, worth=frozenset({0, 1})))


def test_a_validator_that_breaks_on_a_match_counts_as_a_find(monkeypatch):
    def breaks(self, text):
        raise KeyError(text)

    monkeypatch.setattr(shipped.EsNifRecognizer, "validate_result", breaks)
    assert entities(Detector(), "54769630A") == ["ES_NIF"]


def test_detection_opens_no_connection_and_logs_no_value(monkeypatch, caplog):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with caplog.at_level(logging.DEBUG):
        Detector().scan("", ["joe@example.com", "DE89 3704 0044 0532 0130 0X", "4111 1111 1111 1111"])
    assert "joe" not in caplog.text
    assert "DE89" not in caplog.text


def test_every_rule_names_a_recognizer_that_ships_and_its_entity():
    for rule in RULES:
        recognizer = getattr(shipped, rule.recognizer)(supported_language=rule.language)
        assert recognizer.supported_entities == [rule.entity]
    assert recognizers.RANK.keys() >= {rule.entity for rule in RULES}
