"""``policies/NAME.yaml``: the keys of the language, their forms, and what one file must mean to be believed.

The key names are the contract of docs/policy.md. A key whose meaning is not built yet is a fault, never ignored.
"""

import re
from typing import Annotated, Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from hoop_mcp.documents import (
    NOT_ENFORCED,
    Count,
    Document,
    Duration,
    Fault,
    Flag,
    Locator,
    Path,
    Size,
    Slug,
    Text,
    quote,
    validate,
    wrong,
)
from hoop_mcp.policy.rules import Hours, MaskChoice, Mode, Names, Policy, Require, Rule, When
from hoop_mcp.sql.catalogue import NONE, TableName
from hoop_mcp.sql.signatures import FunctionName
from hoop_mcp.terms import Budget, Effect, Limits, Operator, Verb

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIN_BECAUSE: Final = 10

# Kept simple so that a ticket pattern cannot be made to run for minutes on an agent's text.
_UNBOUNDED: Final = re.compile(r"[*+]|\{\d*,\}")
_REPEATED_GROUP: Final = re.compile(r"\)\s*[*+{]")
_MAX_UNBOUNDED: Final = 2


def _category(value: Any) -> str:
    if value == NONE:
        raise wrong("'none' is no category: it says that a column is not personal")
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,62}", value):
        return value
    raise wrong(
        f"{quote(value)} is not the name of a category" if isinstance(value, str) else "a category is expected here"
    )


def _clock(value: Any) -> int:
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00", value) if isinstance(value, str) else None
    if match is None:
        raise wrong('a time of day is expected here, such as "22:00"')
    return 24 * 60 if value == "24:00" else int(match[1]) * 60 + int(match[2])


def _time_zone(value: Any) -> str:
    try:
        if isinstance(value, str):
            return ZoneInfo(value).key
    except (ValueError, OSError, LookupError):
        pass
    raise wrong("a time zone by its IANA name is expected here, such as Europe/Berlin")


def _ticket(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise wrong("a regular expression of at most 200 characters is expected here")
    try:
        groups = re.compile(value)
    except (re.error, OverflowError, RecursionError):
        raise wrong("this is not a regular expression") from None
    if groups.search(""):
        raise wrong("this pattern is found in an empty reason, so that it would require nothing")
    if (
        _REPEATED_GROUP.search(value)
        or len(_UNBOUNDED.findall(value)) > _MAX_UNBOUNDED
        or re.search(r"\\\d|\(\?", value)
    ):
        raise wrong("keep the pattern simple: no repeated groups, no back references, at most two of * and +")
    return value


def _mask(value: Any) -> Any:
    return {"operator": value} if isinstance(value, str) else value


def _no_tables(value: Any) -> bool:
    if value == "true":
        return True
    raise wrong("only true has a meaning here; leave the key out otherwise")


Category = Annotated[str, BeforeValidator(_category), WithJsonSchema({"type": "string"})]
Clock = Annotated[
    int, BeforeValidator(_clock), WithJsonSchema({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"})
]
TimeZone = Annotated[str, BeforeValidator(_time_zone), WithJsonSchema({"type": "string"})]
Ticket = Annotated[str, BeforeValidator(_ticket), WithJsonSchema({"type": "string", "format": "regex"})]
SchemaName = Annotated[str, StringConstraints(pattern=r"^[^.\"\s]{1,63}$")]
ClientName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Because = Annotated[str, StringConstraints(strip_whitespace=True, min_length=MIN_BECAUSE, max_length=500)]
Categories = Annotated[tuple[Category, ...], Field(min_length=1)]
Slugs = Annotated[tuple[Slug, ...], Field(min_length=1)]
Tables = Annotated[tuple[TableName, ...], Field(min_length=1)]


class HoursDocument(Document):
    """A window on the clock; over midnight when ``to`` is before ``from``."""

    opens: Annotated[Clock, Field(alias="from")]
    closes: Annotated[Clock, Field(alias="to")]
    tz: TimeZone
    days: Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(min_length=1)] = DAYS


class WhenDocument(Document):
    """The facts; all that are given must be true."""

    kind: Annotated[tuple[Literal["read", "write"], ...], Field(min_length=1)] | None = None
    only_tables: Tables | None = None
    only_schemas: Annotated[tuple[SchemaName, ...], Field(min_length=1)] | None = None
    no_tables: Annotated[bool, BeforeValidator(_no_tables), WithJsonSchema({"const": True})] = False
    any_tables: Tables | None = None
    shows_any: Categories | None = None
    shows_only: Categories | None = None
    probes_any: Categories | None = None
    probes_only: Categories | None = None
    touches_any: Categories | None = None
    lookups: Categories | None = None
    bounded: Annotated[bool | None, NOT_ENFORCED] = None
    rows_over: Annotated[int | None, NOT_ENFORCED] = None
    functions_any: Annotated[tuple[FunctionName, ...], Field(min_length=1)] | None = None
    hours: HoursDocument | None = None
    actors: Annotated[tuple[Literal["agent", "human", "ci"], ...], Field(min_length=1)] | None = None
    clients: Annotated[tuple[ClientName, ...], Field(min_length=1)] | None = None


class MaskDocument(Document):
    """An operator with its options; the operator's name alone is short for one without options."""

    operator: Literal["keep", "partial", "generalise", "pseudonym", "redact", "nullify"]
    last: Count | None = None
    keep: Count | None = None
    bucket: Count | None = None


MaskEntry = Annotated[
    MaskDocument,
    BeforeValidator(
        _mask,
        json_schema_input_type=Literal["keep", "partial", "generalise", "pseudonym", "redact", "nullify"]
        | MaskDocument,
    ),
]


class LimitsDocument(Document):
    """The most that one call may take."""

    max_rows: Count | None = None
    max_bytes: Size | None = None
    min_group: Count | None = None
    timeout: Duration | None = None


def _spent(value: Any) -> Any:
    if value == "hold":
        raise wrong("'hold' is not enforced yet: write refuse")
    return value


class BudgetDocument(Document):
    """The most that one principal may use in any hour or day, over all its calls that the rule matches."""

    people: Annotated[int | None, NOT_ENFORCED] = None
    rows: Count | None = None
    lookups: Count | None = None
    failures: Count | None = None
    per: Literal["hour", "day"] = "hour"
    then: Annotated[
        Literal["refuse"], BeforeValidator(_spent), WithJsonSchema({"type": "string", "const": "refuse"})
    ] = "refuse"


class ApprovalDocument(Document):
    """Who may say yes to a hold."""

    reviewers: Annotated[Slugs, Field(alias="from")]
    quorum: Annotated[int | None, NOT_ENFORCED] = None
    within: Annotated[str | None, NOT_ENFORCED] = None
    run_within: Annotated[str | None, NOT_ENFORCED] = None
    reason: Annotated[str | None, NOT_ENFORCED] = None
    max_rows: Annotated[int | None, NOT_ENFORCED] = None
    standing: Annotated[dict[str, Any] | None, NOT_ENFORCED] = None
    break_glass: Annotated[tuple[str, ...] | None, NOT_ENFORCED] = None


class RequireDocument(Document):
    """What the call must bring along."""

    reason: Flag = False
    ticket: Ticket | None = None


class RuleDocument(Document):
    """One rule."""

    id: Slug
    when: WhenDocument
    then: Literal["allow", "hold", "deny"]
    because: Because
    mask: dict[Category, MaskEntry] = Field(default_factory=dict)
    limits: LimitsDocument | None = None
    budget: BudgetDocument | None = None
    approval: ApprovalDocument | None = None
    require: RequireDocument | None = None


class ScopeDocument(Document):
    """The calls a policy speaks about."""

    databases: Slugs
    roles: Slugs
    purposes: Slugs | None = None


class PolicyDocument(Document):
    """One policy file."""

    policy: Slug
    owner: Text
    mode: Literal["enforce", "observe"] = "enforce"
    applies_to: ScopeDocument
    rules: Annotated[tuple[RuleDocument, ...], Field(min_length=1)]


class PolicyFile(NamedTuple):
    """A policy that means something by itself, with the places of its parts for faults found across files."""

    document: PolicyDocument
    policy: Policy
    locator: Locator


def read_policy(text: str, file: str) -> tuple[PolicyFile | None, tuple[Fault, ...]]:
    """One policy file, or all that is wrong with it alone."""
    read = validate(text, file, PolicyDocument)
    if read.value is None:
        return None, read.faults
    faults = tuple(sorted(_meaning_faults(read.value, read.locator)))
    if faults:
        return None, faults
    return PolicyFile(read.value, _policy(read.value, read.locator), read.locator), ()


def _meaning_faults(document: PolicyDocument, locator: Locator) -> list[Fault]:
    faults = []
    if document.applies_to.purposes is None and any(rule.then != "deny" for rule in document.rules):
        what = "purposes: this key is missing; only a policy of deny rules may leave it out"
        faults.append(locator.fault(("applies_to",), what))
    seen: set[str] = set()
    for index, rule in enumerate(document.rules):
        path: Path = ("rules", index)
        if rule.id in seen:
            faults.append(locator.fault((*path, "id"), f"a rule '{rule.id}' stands above already"))
        seen.add(rule.id)
        faults += _rule_faults(rule, path, locator)
    return faults


def _rule_faults(rule: RuleDocument, path: Path, locator: Locator) -> list[Fault]:
    faults = []
    when = rule.when
    names_tables = when.only_tables is not None or when.only_schemas is not None or when.no_tables
    if rule.then == "allow" and not names_tables:
        what = f"rule '{rule.id}' allows without a bound: give only_tables, only_schemas or no_tables"
        faults.append(locator.fault((*path, "when"), what))
    if rule.then == "allow" and when.clients is not None:
        what = "a client's name is its own word, so that only deny and hold rules may use it"
        faults.append(locator.fault((*path, "when", "clients"), what, at_key=True))
    if when.no_tables and (when.only_tables or when.only_schemas or when.any_tables):
        what = "no_tables and a list of tables are never true together"
        faults.append(locator.fault((*path, "when", "no_tables"), what, at_key=True))
    if when.hours is not None and when.hours.opens == when.hours.closes:
        what = 'the window is empty; a whole day is from "00:00" to "24:00"'
        faults.append(locator.fault((*path, "when", "hours"), what))
    if when.hours is not None and when.hours.opens == 24 * 60:
        faults.append(locator.fault((*path, "when", "hours", "from"), 'a window opens at "23:59" at the latest'))
    if rule.then == "hold" and rule.approval is None:
        what = f"approval: this key is missing; say who may release '{rule.id}': approval: {{from: [role]}}"
        faults.append(locator.fault(path, what))
    if rule.then != "hold" and rule.approval is not None:
        faults.append(locator.fault((*path, "approval"), "only a hold is approved by somebody", at_key=True))
    if rule.then == "deny":
        meaningless = {"mask": rule.mask, "limits": rule.limits, "require": rule.require, "budget": rule.budget}
        for key, given in meaningless.items():
            if given:
                faults.append(locator.fault((*path, key), "has no meaning in a rule that denies", at_key=True))
    if rule.limits is not None and rule.limits.min_group == 1:
        what = "every group has one person at least: give 2 or more"
        faults.append(locator.fault((*path, "limits", "min_group"), what))
    budget = rule.budget
    if budget is not None and budget.rows is None and budget.lookups is None and budget.failures is None:
        faults.append(locator.fault((*path, "budget"), "say what is counted: rows, lookups or failures"))
    for category, mask in rule.mask.items():
        faults += _mask_faults(mask, (*path, "mask", category), locator)
    return faults


_OPTIONS: Final = {"partial": {"last": (1, 4)}, "generalise": {"keep": (1, 3), "bucket": (2, 999_999_999)}}


def _mask_faults(mask: MaskDocument, path: Path, locator: Locator) -> list[Fault]:
    faults = []
    known = _OPTIONS.get(mask.operator, {})
    for name in ("last", "keep", "bucket"):
        given = getattr(mask, name)
        if given is None:
            continue
        if name not in known:
            faults.append(locator.fault((*path, name), f"{mask.operator} has no such option", at_key=True))
        elif not known[name][0] <= given <= known[name][1]:
            what = f"must be from {known[name][0]} to {known[name][1]}"
            faults.append(locator.fault((*path, name), what))
    return faults


def _names(values: tuple[str, ...] | None) -> Names | None:
    return None if values is None else frozenset(values)


def _policy(document: PolicyDocument, locator: Locator) -> Policy:
    scope = document.applies_to
    return Policy(
        name=document.policy,
        owner=document.owner,
        databases=frozenset(scope.databases),
        roles=frozenset(scope.roles),
        purposes=_names(scope.purposes),
        rules=tuple(_rule(rule, ("rules", index), locator) for index, rule in enumerate(document.rules)),
        mode=Mode(document.mode),
        file=locator.file,
    )


def _rule(rule: RuleDocument, path: Path, locator: Locator) -> Rule:
    limits = rule.limits or LimitsDocument()
    require = rule.require or RequireDocument()
    return Rule(
        id=rule.id,
        when=_when(rule.when),
        then=Effect[rule.then.upper()],
        because=rule.because,
        masks=tuple(_choice(category, mask) for category, mask in rule.mask.items()),
        limits=Limits(
            max_rows=limits.max_rows,
            max_bytes=limits.max_bytes,
            min_group=limits.min_group,
            timeout_ms=limits.timeout,
        ),
        budget=None if rule.budget is None else _budget(rule.id, rule.budget),
        reviewers=frozenset() if rule.approval is None else frozenset(rule.approval.reviewers),
        require=Require(require.reason, require.ticket),
        file=locator.file,
        line=locator.at(path).line,
    )


_WINDOWS: Final = {"hour": 3_600, "day": 86_400}


def _budget(rule: str, budget: BudgetDocument) -> Budget:
    return Budget(rule, _WINDOWS[budget.per], budget.rows, budget.lookups, budget.failures)


def _choice(category: str, mask: MaskDocument) -> MaskChoice:
    given = ((name, getattr(mask, name)) for name in ("bucket", "keep", "last"))
    options = tuple((name, value) for name, value in given if value is not None)
    return MaskChoice(category, Operator[mask.operator.upper()], options)


def _when(when: WhenDocument) -> When:
    hours = when.hours
    return When(
        kind=None if when.kind is None else frozenset(Verb[kind.upper()] for kind in when.kind),
        only_tables=_names(when.only_tables),
        only_schemas=_names(when.only_schemas),
        no_tables=when.no_tables,
        any_tables=_names(when.any_tables),
        shows_any=_names(when.shows_any),
        shows_only=_names(when.shows_only),
        probes_any=_names(when.probes_any),
        probes_only=_names(when.probes_only),
        touches_any=_names(when.touches_any),
        lookups=_names(when.lookups),
        functions_any=_names(when.functions_any),
        hours=None
        if hours is None
        else Hours(hours.opens, hours.closes, hours.tz, frozenset(DAYS.index(day) for day in hours.days)),
        actors=_names(when.actors),
        clients=_names(when.clients),
    )
