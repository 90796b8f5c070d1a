"""What policy says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias


class Effect(IntEnum):
    """Order is strictness, so "strictest wins" is ``max()``."""

    ALLOW = 0
    HOLD = 1
    DENY = 2


class Operator(IntEnum):
    """The mask ladder; order is weight, so "heaviest mask" is ``max()``."""

    KEEP = 0
    PARTIAL = 1
    GENERALISE = 2
    PSEUDONYM = 3
    REDACT = 4
    NULLIFY = 5


MaskOption: TypeAlias = tuple[str, str | int]


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """What happens to one shown column that carries personal data.

    ``category`` is the catalogue's (or ``unclassified``); ``entity`` what its values are (EMAIL_ADDRESS) where the
    catalogue says; ``rule`` the id of the rule whose operator won, None for the default redact. ``constant`` puts the
    same placeholder over every cell, NULL and '' too: for what was computed, where either would be an answer.
    """

    operator: Operator
    category: str
    entity: str | None = None
    rule: str | None = None
    options: tuple[MaskOption, ...] = ()
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The strictest limits among the rules that matched; None where no rule sets one. Bytes and milliseconds.

    The strictest is the smallest, but of ``min_group`` the largest.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    min_group: int | None = None
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What one rule lets one principal use in a stretch of time; None where it does not limit.

    ``rows`` are answered, ``lookups`` are constants a lookup column is compared with, ``failures`` are statements on
    personal data that ended in an error. ``window_s`` is in seconds.
    """

    rule: str
    window_s: int
    rows: int | None = None
    lookups: int | None = None
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The policy decision point's answer for one analysed statement under one mandate.

    ``rules`` are the ids of the rules that decided, ``because`` their words, in the same order, strictest first.
    ``masks`` has one place per output column: None where nothing personal is shown. ``code`` is None on allow.
    ``budgets`` are those of the rules that matched, by rule; each of them must hold.
    ``instead`` tells the agent what to do about a deny or hold. ``shadow`` is what policies in observe mode would
    have said: journaled beside, never enforced.
    """

    effect: Effect
    rules: tuple[str, ...]
    because: tuple[str, ...]
    masks: tuple[ColumnMask | None, ...] = ()
    limits: Limits = Limits()
    code: str | None = None
    instead: str = ""
    reviewers: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    shadow: Decision | None = None
