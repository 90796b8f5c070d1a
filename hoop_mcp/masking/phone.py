"""Phone numbers: a linear search for digit groups, then the numbering plans that phonenumbers ships.

Presidio runs libphonenumber's matcher eight times per text (about 240 microseconds a cell). Here the candidate is
found once, and its digits are tested against the same plans as one compiled pattern per country.

Evidence, strongest first: a number written internationally (+49 …) counts if its length is possible; a number with
separators or a leading zero counts if some plan of :data:`REGIONS` knows it; the North American shapes 3-3-4 count
even with an area code that does not exist; bare digits count only after a cue. Direction: eight bare digits are an
order number far more often than a phone, and lineage covers the columns that hold phones.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

import phonenumbers
from phonenumbers import PhoneMetadata

if TYPE_CHECKING:
    from collections.abc import Callable

REGIONS = (
    *("US", "CA", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH", "PT", "IE", "PL", "SE", "DK", "NO", "FI"),
    *("IN", "BR", "IL"),
)

_RUN = re.compile(r"(?<![0-9A-Za-z])[+(]?[0-9](?:[ ()./+\-]*+[0-9]){6}[0-9 ()./+\-]*+")
_EXTENSION = re.compile(r" ?(?:x|ext\.?|#) ?\d{1,6}(?![0-9A-Za-z])", re.IGNORECASE)
_DATE = re.compile(
    r"(?<![^ ])(?:(?:19|20)\d\d[-./](?:0?[1-9]|1[0-2])[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d)(?![^ ])"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_NANP = re.compile(r"(?:\+?1[ .\-]?|001[ .\-]?)?(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}")
_NOT_DIGITS = re.compile(r"\D+")
_TYPES = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "uan", "pager"),
    "voicemail",
)
_GROUP = re.compile(r"[^ ]+")
_GOES_ON = re.compile(r":\d|[^\W\d]|@")
_MAX_GROUPS = 7
_MIN_DIGITS, _MAX_DIGITS = 7, 16


@lru_cache(maxsize=1)
def _plans() -> re.Pattern[str]:
    """Any valid national number of any region, with or without its trunk prefix."""
    plans: list[str] = []
    for region in REGIONS:
        known = PhoneMetadata.metadata_for_region(region)
        if known is None:
            raise LookupError(region)
        kinds = [getattr(known, kind) for kind in _TYPES]
        patterns = {k.national_number_pattern for k in kinds if k is not None and k.national_number_pattern}
        prefix = f"(?:{re.escape(known.national_prefix)})?" if known.national_prefix else ""
        plans.append(f"{prefix}(?:{'|'.join(sorted(patterns))})")
    return re.compile("|".join(plans))


def warm_up() -> None:
    """Compile the plans before the first call needs them."""
    _plans()


def _international(digits: str) -> bool:
    """Whether a number written with its country code has a possible length (ITU-T E.164: 15 digits at most)."""
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(digits[:length]))
        if regions:
            national = len(digits) - length
            known = PhoneMetadata.metadata_for_region_or_calling_code(int(digits[:length]), regions[0])
            described = known.general_desc if known is not None else None
            possible = described.possible_length if described is not None else ()
            # One more where the trunk zero was written after the code, one less for the short lines plans keep.
            return any(abs(national - n) <= 1 for n in possible)
    return False


def _national(digits: str) -> bool:
    return _plans().fullmatch(digits) is not None


class Evidence(IntEnum):
    """What a run of digits is worth by itself."""

    NONE = 0
    WITH_CUE = 1
    ALONE = 2


def judge(text: str) -> Evidence:
    """Whether a run of digits and separators is a phone number by itself, after a cue word, or not at all."""
    digits = _NOT_DIGITS.sub("", text)
    if not _MIN_DIGITS <= len(digits) <= _MAX_DIGITS:
        return Evidence.NONE
    if text.lstrip("(").startswith("+"):
        return Evidence.ALONE if _international(digits) else Evidence.NONE
    bare = text == digits
    if not bare:
        if _NANP.fullmatch(text):
            return Evidence.ALONE
        if _DATE.search(text) or _THOUSANDS.fullmatch(text) or _IPV4.fullmatch(text):
            return Evidence.NONE
    zeros = digits.startswith("00")
    if zeros and len(digits) > 10 and _international(digits[2:].replace("0", "", 1) if "(0)" in text else digits[2:]):
        return Evidence.ALONE
    leading_zero = digits[0] == "0"
    if (leading_zero or not bare) and len(digits) >= (9 if leading_zero else 8) and _national(digits):
        return Evidence.ALONE
    return Evidence.WITH_CUE if len(digits) >= 9 or _national(digits) else Evidence.NONE


def find_phones(text: str, cue_before: Callable[[int], bool]) -> list[tuple[int, int]]:
    """Places of phone numbers in a text; ``cue_before(start)`` says whether a cue word stands before an offset.

    A run of groups may hold several numbers (``2 x 0171 1234567``): every window of up to seven groups is tried, the
    longest first, so the work stays linear in the text.
    """
    places: list[tuple[int, int]] = []
    for run in _RUN.finditer(text):
        base = run.start()
        glued = base > 1 and text[base - 1] in "-_/#." and text[base - 2].isalnum()
        if glued and "+" not in run[0] and not cue_before(base):
            continue  # SO-2026-056105: digits glued to a word are a number to call only where a cue says so
        body = run[0].rstrip(" (./+-")
        after = base + len(body)
        groups = [match.span() for match in _GROUP.finditer(body)]
        if _GOES_ON.match(text, after) and not _EXTENSION.match(text, after):
            groups.pop()  # 14:05, 0x1F, 12kg: the last group is no number of its own
        reach = [0, *accumulate(sum(map(str.isdigit, body[start:end])) for start, end in groups)]
        first = 0
        while first < len(groups):
            start = groups[first][0]
            for last in range(min(len(groups), first + _MAX_GROUPS), first, -1):
                if not _MIN_DIGITS <= reach[last] - reach[first] <= _MAX_DIGITS:
                    continue
                piece = body[start : groups[last - 1][1]].rstrip("./-")
                evidence = judge(piece)
                if glued and not piece.startswith("+"):
                    evidence = min(evidence, Evidence.WITH_CUE)
                if evidence is Evidence.ALONE or (evidence and cue_before(base + start)):
                    end = base + start + len(piece)
                    extension = _EXTENSION.match(text, end)
                    places.append((base + start, extension.end() if extension else end))
                    first = last - 1
                    break
            first += 1
    return places
