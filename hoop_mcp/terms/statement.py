"""What a statement is and what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias


class Verb(IntEnum):
    """What a statement does to the data; the heaviest verb anywhere in it is ``max()``."""

    READ = 1
    WRITE = 2


class Form(IntEnum):
    """What an output column is made of; order is distance from the stored value, so a mixture is ``max()``.

    STORED is a column's own value; PRESERVED still holds it whole and recognisable (a row, an array, in lower case);
    COMPUTED is anything else.
    """

    STORED = 0
    PRESERVED = 1
    COMPUTED = 2


class RelationName(NamedTuple):
    """A table or view as the statement names it; ``schema`` is None where the search path decides."""

    schema: str | None
    name: str


class ColumnRef(NamedTuple):
    """A column of a real relation: ``public.customers.email``."""

    schema: str
    table: str
    column: str

    @property
    def relation(self) -> str:
        """``schema.table``, the form policies and the journal use."""
        return f"{self.schema}.{self.table}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}.{self.column}"


class Token(NamedTuple):
    """One word of a statement for the journal.

    ``kind`` is "k" (keyword, punctuation), "i" (identifier), "l" (literal) or "p" (parameter).
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Statement:
    """Exactly one statement of an allowed kind, as the offline reader understood it.

    ``sql`` is the agent's text, byte for byte: it is what is analysed and what runs. ``relations`` are named in it,
    common table expressions left out; ``words`` are all its identifiers, folded as PostgreSQL folds them; ``tokens``
    are what :func:`hoop_mcp.sql.template.template` makes the clear text of the journal from. ``parameters`` is the
    highest ``$n``. ``locks`` is whether it locks rows (FOR UPDATE, FOR SHARE).
    """

    sql: str = field(repr=False)
    verb: Verb
    relations: frozenset[RelationName]
    words: frozenset[str] = field(repr=False)
    tokens: tuple[Token, ...] = field(repr=False)
    has_literals: bool
    parameters: int
    locks: bool = False


@dataclass(frozen=True, slots=True)
class Explain:
    """The plan of a statement. ``statement`` is the exact slice of the agent's text behind EXPLAIN and its options.

    ``analyze`` is whether it is to be run and measured. ``omitted`` are the options asked for that no plan here honours,
    as they are told to the agent ("BUFFERS", "FORMAT JSON").
    """

    statement: Statement
    analyze: bool
    omitted: tuple[str, ...]

    @property
    def tokens(self) -> tuple[Token, ...]:
        """What was asked, for the journal."""
        words = ("EXPLAIN", "ANALYZE") if self.analyze else ("EXPLAIN",)
        return (*(Token("k", word) for word in words), *self.statement.tokens)


@dataclass(frozen=True, slots=True)
class Show:
    """One vouched setting of the session, spelled as PostgreSQL spells it; never the agent's own spelling."""

    setting: str

    @property
    def tokens(self) -> tuple[Token, ...]:
        """What was asked, for the journal."""
        return (Token("k", "SHOW"), Token("k", self.setting))


Request: TypeAlias = Statement | Explain | Show


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column of the answer.

    ``sources`` are the catalogued columns whose value can reach it; empty means nothing personal flows here, as far
    as lineage goes. ``type_name`` is PostgreSQL's own ("text", "int8", "_text" for an array of text).
    """

    name: str
    type_name: str
    sources: frozenset[ColumnRef] = frozenset()
    form: Form = Form.STORED


@dataclass(frozen=True, slots=True)
class Groups:
    """What is known of the people behind the rows of a statement that aggregates over people.

    ``counted`` are the output columns (0-based) that say of how many different people each row is made; a minimum must be
    reached in every one of them. It is empty where they cannot be told: then ``uncounted`` says why and ``instead`` what
    to write. ``single`` marks a count over what a key narrows to one row, with a further question about that row.
    """

    counted: tuple[int, ...] = ()
    uncounted: str = ""
    instead: str = ""
    single: bool = False


@dataclass(frozen=True, slots=True)
class Analysis:
    """How a statement uses the data: shown (see ``columns``), probed, or looked up.

    A *probe* steers which rows come back, their order, their number, or whether an error is raised. A *lookup* is an
    equality of a catalogued lookup column with constants. ``relations`` are named in the statement, ``behind`` are
    reached through views, rules and children; both as ``schema.table``. ``locks`` is whether rows are locked.
    ``unnamed`` is whether carrying it out involves anything it does not name itself (the body of a view or function,
    children, row security): its plan would tell of that, so unknown counts as yes. ``guesses`` is the number of constants
    that lookup columns are compared with. ``groups`` is None where nothing is aggregated over people.
    """

    verb: Verb
    columns: tuple[OutputColumn, ...]
    probes: frozenset[ColumnRef]
    lookups: frozenset[ColumnRef]
    relations: frozenset[str]
    behind: frozenset[str]
    functions: frozenset[str]
    bounded: bool = False
    reads: frozenset[ColumnRef] = frozenset()
    locks: bool = False
    unnamed: bool = True
    guesses: int = 0
    groups: Groups | None = None

    @property
    def shown(self) -> frozenset[ColumnRef]:
        """Every catalogued column that reaches an output column."""
        return frozenset[ColumnRef]().union(*(column.sources for column in self.columns))

    @property
    def personal(self) -> bool:
        """Whether anything personal is touched at all; if not, the clean login runs it.

        A column that is only counted or tested for NULL shows nothing, and is read all the same.
        """
        return bool(self.probes or self.lookups or self.reads or any(column.sources for column in self.columns))
