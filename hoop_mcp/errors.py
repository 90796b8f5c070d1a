"""One family of errors, and the codes agents and people see.

::

    HoopError
    ├── Refused               an expected no: the gate turns it into a Refusal, journals it, reveals nothing
    ├── SettingsError         hoop.yaml, a policy or a catalogue cannot be used; carries every fault at once
    ├── NotBuiltYet           a finished name whose work has not landed; the command exits 2
    ├── DatabaseUnavailable   no connection to a governed database
    ├── JournalUnavailable    the journal cannot commit: nothing runs and nothing is answered
    │   └── JournalHeld       another process writes it
    ├── NotCanonical          an event or a body that has no canonical bytes: it is not an entry
    └── SealBroken            a sealed part does not open: wrong key, wrong place, or altered bytes

Codes by group: HOOP1xx the call, 2xx the SQL, 3xx policy, 4xx approval, 5xx the database, 6xx the journal,
7xx masking. :data:`CODES` is the one table; docs/errors.md is tested against it. A code's ``instead`` is what the
agent is told to do when the place that refuses has nothing more precise to say. Two refusals for two causes never
share a sentence.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code means (for docs/errors.md) and what an agent should do about it."""

    meaning: str
    instead: str


CODES: dict[str, Code] = {
    # 1xx: the call
    "HOOP101": Code(
        "No principal: the transport proved nobody.",
        "Ask the operator to name this account in hoop.yaml under identity.",
    ),
    "HOOP102": Code("The role is missing, ambiguous or not held.", "Pass one of the roles that whoami lists."),
    "HOOP103": Code("The purpose is missing, ambiguous or not held.", "Pass one of the purposes that whoami lists."),
    "HOOP104": Code(
        "The database is missing, ambiguous or unknown.", "Pass one of the databases that list_databases lists."
    ),
    "HOOP105": Code(
        "An argument is not usable as given.", "Send the argument in the form the tool's schema describes."
    ),
    "HOOP106": Code(
        "A rule requires a reason or a ticket that the call does not give.", "Send the call again with a reason."
    ),
    "HOOP107": Code("The feature has a name already and is not built yet.", "Do without it for now."),
    "HOOP109": Code("The call was cancelled by the client.", "Send the call again if the answer is still needed."),
    "HOOP110": Code(
        "The caller has as many calls at work and waiting as it may.",
        "Wait for earlier calls to be answered, then send this one again.",
    ),
    "HOOP199": Code(
        "Something inside the gateway failed; nothing was revealed.",
        "Tell the operator the call id; do not retry the same call in a loop.",
    ),
    # 2xx: the SQL
    "HOOP201": Code("There is no statement.", "Send exactly one SELECT statement."),
    "HOOP202": Code("There is more than one statement.", "Send the statements one at a time, each in its own call."),
    "HOOP203": Code("The statement cannot be read as PostgreSQL SQL.", "Rewrite it in plain PostgreSQL syntax."),
    "HOOP204": Code(
        "A function, operator or cast is used that nobody has vouched for.",
        "Compute it from the columns directly, or ask the database owner to vouch for it in the catalogue.",
    ),
    "HOOP205": Code("The kind of statement is not one an agent may send.", "Use SELECT to read, EXPLAIN for a plan."),
    "HOOP206": Code(
        "The statement writes.",
        "Only read here: the execute tool, which is for writes, is not served by this server yet.",
    ),
    "HOOP207": Code(
        "The statement is too large, too deep or too wide to analyse.", "Split it into smaller statements."
    ),
    "HOOP208": Code(
        "A name or the text holds characters that could disguise the statement.",
        "Write names in plain characters, without U& escapes or control characters.",
    ),
    "HOOP209": Code(
        "PostgreSQL does not know a name, or a type does not fit.",
        "Look the names up with search_schema and describe_table.",
    ),
    "HOOP210": Code(
        "The two readers of the statement disagree about what it names or does.",
        "Write table names qualified with their schema, and the statement more plainly.",
    ),
    "HOOP211": Code(
        "The analysed statement holds something this gateway does not understand.",
        "Write the statement more plainly, without the construct named.",
    ),
    "HOOP212": Code(
        "A value's type runs code of its own, which nobody has vouched for.",
        "Cast to a built-in type, or leave the column out.",
    ),
    "HOOP213": Code("A relation is out of bounds for every policy.", "Leave it out; search_schema lists what is open."),
    "HOOP214": Code("The parameters do not fit the statement.", "Send one parameter for each of $1, $2, … in order."),
    "HOOP215": Code(
        "Two names are equal once white space is folded.", "Give each common table expression a distinct name."
    ),
    "HOOP216": Code("The statement's meaning changed while it was analysed.", "Send the call again."),
    "HOOP217": Code("A system column is used.", "Leave ctid, xmin, xmax, cmin and cmax out."),
    "HOOP218": Code(
        "The statement locks rows, which waits for a person as a write does.", "Leave FOR UPDATE and FOR SHARE out."
    ),
    "HOOP219": Code(
        "The plan of the statement would tell of personal data, or of what the statement does not name.",
        "Send the statement without EXPLAIN, or EXPLAIN without ANALYZE.",
    ),
    "HOOP220": Code("SHOW does not tell this setting.", "Show one of the settings that the refusal lists."),
    # 3xx: policy
    "HOOP301": Code(
        "No rule opens a way for this statement.", "Ask for less: whoami lists the roles, describe_table what is open."
    ),
    "HOOP302": Code("A rule denies it.", "Leave out what the rule names."),
    "HOOP311": Code(
        "A rule holds it for a person, and approvals are not served here yet.", "Leave out what the rule names."
    ),
    "HOOP312": Code(
        "Filtering, sorting or grouping on personal data reveals it row by row.",
        "Select by a key that is not personal, such as an id.",
    ),
    "HOOP313": Code(
        "An answer about too few people: a policy sets a minimum for groups and the statement does not count the people of "
        "each row, or it counts what can only be one person.",
        "Aggregate columns themselves and add count(DISTINCT the person's key) AS people to the select list.",
    ),
    "HOOP321": Code(
        "A budget of the caller is spent: lookups, statements PostgreSQL cannot parse, failures on personal data, or rows.",
        "Wait until some of it is free again; whoami tells what is left.",
    ),
    # 5xx: the database
    "HOOP501": Code("The database cannot be reached.", "Try again in a minute; tell the operator if it lasts."),
    "HOOP502": Code("The statement took too long.", "Narrow it: fewer tables, a key in WHERE, a smaller LIMIT."),
    "HOOP503": Code(
        "PostgreSQL raised an error while running the statement.", "Check the values and casts in the statement."
    ),
    "HOOP504": Code(
        "PostgreSQL refused a privilege that the analysis expected.",
        "Tell the operator: policy and grants have drifted apart, hoop-mcp doctor names the place.",
    ),
    "HOOP505": Code(
        "What the statement depends on changed while it ran; the rows were withheld.", "Send the call again."
    ),
    "HOOP506": Code("The connection was lost while the statement ran.", "Send the call again."),
    "HOOP507": Code("The answer is larger than the limit.", "Select fewer columns or rows."),
    "HOOP508": Code(
        "The gateway is already running as many statements as it may.",
        "Wait for earlier calls to finish, then try again.",
    ),
    # 6xx: the journal
    "HOOP601": Code("The journal cannot record, so nothing runs.", "Wait; only the operator can mend it."),
    # 7xx: masking
    "HOOP701": Code(
        "The masking engine failed or was too late; the rows were withheld.",
        "Select fewer rows or leave the long text columns out.",
    ),
}


class HoopError(Exception):
    """The root of everything this package raises on purpose."""


class Refused(HoopError):
    """An expected no, raised by a stage and turned into a Refusal by the gate, in one place.

    Args:
        code: a key of :data:`CODES`.
        reason: what was found and why it matters: one sentence, no value, no server message.
        instead: what to do; the code's own advice where None.
        cause: code and reason of the refusal that this one stands for, where the agent must not learn which of several
            it was; for the journal.
    """

    def __init__(self, code: str, reason: str, instead: str | None = None, *, cause: str | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.instead = CODES[code].instead if instead is None else instead
        self.cause = cause


class SettingsError(HoopError):
    """Settings, a policy or a catalogue cannot be used. ``faults`` are ``file:line:col: what`` lines, all at once."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class NotBuiltYet(HoopError):
    """A name the surface promises whose work has not landed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not built yet: {what}")


class DatabaseUnavailable(HoopError):
    """A governed database cannot be reached; the message names the database and the cause, never its DSN."""


class JournalUnavailable(HoopError):
    """The journal cannot commit."""


class JournalHeld(JournalUnavailable):
    """Another process writes the journal: one journal has one writer."""


class NotCanonical(HoopError):
    """An event or a body that has no canonical bytes; the message names the place, never the value."""


class SealBroken(HoopError):
    """A sealed part does not open: wrong key, wrong place, or altered bytes. Which of these is not said."""
