r"""Which of Presidio's recognizers run, on what evidence, as data.

Every shipped pattern recognizer was judged once. A finding counts *alone* where the shape or a checksum is strong
enough for a single cell; *apart* likewise, but only when written with separators (ten bare digits pass a one-digit
checksum by chance one time in ten, an order number written 3-3-4 does not); else it needs a cue: one of the
recognizer's own context words in the column's name or in the words before it. A checksum that needs a cue may also be
proved by the column: where nine in ten of at least twelve distinct cells pass it, chance is out of the question.

Left out on purpose: DATE_TIME, URL, UUID (not personal by themselves, and everywhere), ORGANIZATION and NRP (they
need a language model), number plates and company numbers (they match half of all product codes), and the labelled US
claim, prescription, referral and authorisation numbers. PERSON, LOCATION and street addresses have no pattern.

``gate`` is an RE2 pattern, matched without case, that every match of the recognizer's own patterns contains: one
linear pass over a cell asks all gates at once, and only what passes is looked at closely. RE2's ``\b`` knows ASCII
only; beside an ASCII letter or digit it sees every boundary that Presidio's sees, and some more.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Evidence(Enum):
    """What it takes for a match to count without a cue."""

    ALONE = "alone"
    APART = "apart"
    CUE = "cue"


class Rule(NamedTuple):
    """One recognizer: its class in ``presidio_analyzer.predefined_recognizers``, its language, and when to believe it.

    ``floor`` is the least score (after the validator, which says 1.0) that counts without a cue. ``bounded`` adds the
    word boundaries that a pattern forgot. ``cues`` replace the recognizer's own context words where those are too
    common. ``votes`` says that its checksum may be proved by the whole column.
    """

    entity: str
    recognizer: str
    language: str
    gate: str
    evidence: Evidence
    floor: float = 0.5
    bounded: bool = False
    cues: tuple[str, ...] = ()
    votes: bool = False


_START, _END = r"(?:\A|[^0-9A-Za-z])", r"(?:[^0-9A-Za-z]|\z)"
EDGES = (r"\b", _START, r"(?:\A|\D)")
"""How a gate begins that can match at a word's edge only."""

_A, _P, _C = Evidence.ALONE, Evidence.APART, Evidence.CUE

RULES: tuple[Rule, ...] = (
    # Every language
    Rule("CREDIT_CARD", "CreditCardRecognizer", "en", r"\b[13456]\d{3}[- ]?\d{3,4}[- ]?\d{3,4}[- ]?\d{3,5}\b", _A),
    Rule("CRYPTO", "CryptoRecognizer", "en", r"(?:bc1|[13])[a-z0-9]{25}", _A),
    Rule(
        "IP_ADDRESS",
        "IpRecognizer",
        "en",
        r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9a-f]{1,4}:[0-9a-f]{0,4}:|::",
        _A,
    ),
    Rule(
        "MAC_ADDRESS",
        "MacAddressRecognizer",
        "en",
        r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}",
        _A,
    ),
    # Europe
    Rule("DE_TAX_ID", "DeTaxIdRecognizer", "de", r"\b[1-9]\d{10}\b", _A),
    Rule("DE_SOCIAL_SECURITY", "DeSocialSecurityRecognizer", "de", r"\b\d{8}[a-z]\d{3}\b", _A),
    Rule("DE_ID_CARD", "DeIdCardRecognizer", "de", r"[c-z][a-z0-9]{7}\d", _C, votes=True),
    Rule("DE_PASSPORT", "DePassportRecognizer", "de", r"[c-z][a-z0-9]{7}\d", _C, votes=True),
    Rule("DE_HEALTH_INSURANCE", "DeHealthInsuranceRecognizer", "de", r"[a-z]\d{9}", _C, votes=True),
    Rule("DE_FUEHRERSCHEIN", "DeFuehrerscheinRecognizer", "de", r"[a-z]{2}\d{8}[a-z0-9]", _C),
    Rule("DE_TAX_NUMBER", "DeTaxNumberRecognizer", "de", r"\d{13}|\d/\d{3,4}/\d{4}", _C),
    Rule("ES_NIF", "EsNifRecognizer", "es", r"\b\d{7,8}-?[a-z]\b", _A),
    Rule("ES_NIE", "EsNieRecognizer", "es", r"\b[x-z]?\d{7,8}-?[a-z]\b", _A),
    Rule("ES_PASSPORT", "EsPassportRecognizer", "es", r"[a-z]{3}\d{6}", _C),
    Rule(
        "FI_PERSONAL_IDENTITY_CODE",
        "FiPersonalIdentityCodeRecognizer",
        "fi",
        _START + r"\d{6}[-+a-fu-y]\d{3}[0-9a-y]" + _END,
        _A,
        bounded=True,
    ),
    Rule("IT_FISCAL_CODE", "ItFiscalCodeRecognizer", "it", r"[a-z]{6}[0-9l-v]{2}[a-z][0-9l-v]{2}[a-z][0-9l-v]{3}", _A),
    Rule("IT_DRIVER_LICENSE", "ItDriverLicenseRecognizer", "it", r"[a-z]{2}\d{7}[a-z]|u1[a-z0-9]{7}[a-z]", _C),
    Rule("IT_IDENTITY_CARD", "ItIdentityCardRecognizer", "it", r"[a-z]{2}\s?\d{7}|\d{5}[a-z]{2}", _C),
    Rule("IT_PASSPORT", "ItPassportRecognizer", "it", r"[a-z]{2}\d{7}", _C),
    Rule("PL_PESEL", "PlPeselRecognizer", "pl", _START + r"\d{11}" + _END, _A, bounded=True),
    Rule(
        "SE_PERSONNUMMER",
        "SePersonnummerRecognizer",
        "sv",
        _START + r"\d{6,8}[-+]?\d{4}" + _END,
        _P,
        bounded=True,
        votes=True,
    ),
    Rule("TR_NATIONAL_ID", "TrNationalIdRecognizer", "tr", r"\b[1-9]\d{10}\b", _A),
    Rule("UK_NHS", "NhsRecognizer", "en", r"\b\d{3}[- ]?\d{3}[- ]?\d{4}\b", _P, votes=True),
    Rule("UK_NINO", "UkNinoRecognizer", "en", r"\b[a-z]{2} ?\d{2} ?\d{2} ?\d{2} ?[a-d]\b", _A),
    Rule("UK_DRIVING_LICENCE", "UkDrivingLicenceRecognizer", "en", r"[a-z9]{5}\d{6}[a-z9]{2}[a-z0-9][a-z]{2}", _A),
    Rule("UK_PASSPORT", "UkPassportRecognizer", "en", r"[a-z]{2}\d{7}", _C),
    Rule("UK_POSTCODE", "UkPostcodeRecognizer", "en", r"\d[a-z]?\s?\d[a-z]{2}|gir\s?0aa", _C),
    # The Americas
    Rule("US_SSN", "UsSsnRecognizer", "en", r"\b\d{3}[- .]?\d{2}[- .]?\d{4}\b", _A),
    Rule("US_ITIN", "UsItinRecognizer", "en", r"\b9\d{2}[- ]?\d{2}[- ]?\d{4}\b", _A),
    Rule("US_MBI", "UsMbiRecognizer", "en", r"\b\d[a-z][a-z0-9]\d-?[a-z][a-z0-9]\d-?[a-z]{2}\d{2}\b", _A),
    Rule("US_NPI", "UsNpiRecognizer", "en", r"[12]\d{3}[ -]?\d{3}[ -]?\d{3}", _C, votes=True),
    Rule("US_PASSPORT", "UsPassportRecognizer", "en", r"\d{8}", _C, cues=("passport", "us passport", "passport no")),
    Rule("US_DRIVER_LICENSE", "UsLicenseRecognizer", "en", r"\d", _C, cues=("driver", "drivers", "license", "dl")),
    Rule(
        "US_BANK_NUMBER",
        "UsBankRecognizer",
        "en",
        r"\d{8}",
        _C,
        cues=("bank account", "account number", "account no", "acct", "bank acct"),
    ),
    Rule("ABA_ROUTING_NUMBER", "AbaRoutingRecognizer", "en", r"[0-36-8]\d{3}-?\d{4}-?\d", _C, votes=True),
    Rule("MEDICAL_LICENSE", "MedicalLicenseRecognizer", "en", r"[a-z][a-z9]\d{7}", _C, bounded=True, votes=True),
    Rule("CA_SIN", "CaSinRecognizer", "en", r"\b[1-79]\d{2}[- ]?\d{3}[- ]?\d{3}\b", _P),
    # Asia, Africa, Oceania
    Rule("AU_TFN", "AuTfnRecognizer", "en", r"\d{3}\s?\d{3}\s?\d{3}", _C, votes=True),
    Rule("AU_MEDICARE", "AuMedicareRecognizer", "en", r"[2-6]\d{3}\s?\d{5}\s?\d", _C, votes=True),
    Rule("IN_AADHAAR", "InAadhaarRecognizer", "en", r"\b\d{4}[- :]?\d{4}[- :]?\d{4}\b", _P, votes=True),
    Rule("IN_PAN", "InPanRecognizer", "en", r"\b[a-z]{5}\d{4}[a-z]\b", _A),
    Rule("IN_VOTER", "InVoterRecognizer", "en", r"[a-z]{3}\d{7}", _C),
    Rule("IN_PASSPORT", "InPassportRecognizer", "en", r"[a-z][1-9]\d\s?\d{4}[1-9]", _C),
    Rule("KR_RRN", "KrRrnRecognizer", "ko", r"(?:\A|\D)\d{6}-?[1-4]\d{6}(?:\z|\D)", _P, votes=True),
    Rule("KR_FRN", "KrFrnRecognizer", "ko", r"(?:\A|\D)\d{6}-?[5-8]\d{6}(?:\z|\D)", _P, votes=True),
    Rule("SG_NRIC_FIN", "SgFinRecognizer", "en", r"\b[a-z]\d{7}[a-z]\b", _A),
    Rule("TH_TNIN", "ThTninRecognizer", "th", r"[1-9]\d{12}", _C, votes=True),
    Rule("PH_UMID", "PhUmidRecognizer", "en", r"\d{4}-?\d{7}-?\d", _A),
    Rule("NG_NIN", "NgNinRecognizer", "en", r"\d{11}", _C, votes=True),
    Rule("ZA_ID_NUMBER", "ZaIdNumberRecognizer", "en", r"\b\d{10}[0-2][89]\d\b", _A),
)

EMAIL, PHONE, IBAN, CARD, NIR = "EMAIL_ADDRESS", "PHONE_NUMBER", "IBAN_CODE", "CREDIT_CARD", "FR_NIR"

OWN_GATES: tuple[tuple[str, str], ...] = (
    (EMAIL, r"@"),
    (IBAN, r"[a-z]{2}\d{2}(?:[ -]?[a-z0-9]){11}"),
    (CARD, r"\d(?:[ -]?\d){11}"),
    (NIR, r"[12] ?\d{2} ?\d{2} ?\d[\dab] ?\d{3} ?\d{3} ?\d{2}"),
    (PHONE, _START + r"[+(]?\d(?:[ ()./+-]*\d){6}"),
)
"""Entities with a scanner of ours, and their gates: as for rules, every find contains a match of its gate."""

GATE_SETS: tuple[tuple[str, ...], ...] = (
    (IBAN, "IT_FISCAL_CODE", "UK_DRIVING_LICENCE"),
    (NIR, "CRYPTO"),
    tuple(
        """DE_ID_CARD DE_PASSPORT DE_HEALTH_INSURANCE MEDICAL_LICENSE DE_FUEHRERSCHEIN ES_PASSPORT IT_DRIVER_LICENSE
        IT_IDENTITY_CARD IT_PASSPORT UK_PASSPORT IN_VOTER IN_PASSPORT""".split()  # noqa: SIM905 - a list of words reads best as words
    ),
    tuple(
        "DE_TAX_NUMBER UK_POSTCODE US_PASSPORT US_DRIVER_LICENSE US_BANK_NUMBER AU_TFN NG_NIN US_NPI".split()  # noqa: SIM905 - as above
    ),
    ("ABA_ROUTING_NUMBER",),
    ("AU_MEDICARE",),
    ("TH_TNIN",),
)
"""Gates that may match from anywhere in a word and count far from there: which of them RE2 reads a text for together.

Found by measuring: each set costs one to four microseconds a cell on texts never seen before (identifiers, hexadecimal,
letters to support); all gates in one set cost 50 to 170. Gates that begin at a word's edge get on with each other.
"""

PHONE_CUES = frozenset(
    """phone telephone cell cellphone mobile mob tel telefon telefono telefone téléphone telephon handy mobil call fax
    mobiltelefon msisdn whatsapp rufnummer móvil movil cellulare portable tlf puh puhelin telefoon gsm""".split()  # noqa: SIM905 - a list of words reads best as words
)

RANK: dict[str, int] = {
    entity: place
    for place, entity in enumerate(
        [
            EMAIL,
            IBAN,
            CARD,
            NIR,
            *(rule.entity for rule in RULES if rule.evidence is Evidence.ALONE),
            PHONE,
            *(rule.entity for rule in RULES if rule.evidence is not Evidence.ALONE),
        ]
    )
}
"""Which name wins where findings overlap: the lower, the more certain."""
