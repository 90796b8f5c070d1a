"""The first reader: exactly one statement of an allowed kind, understood offline, before the database sees it.

The only importer of sqlglot. It never decides what a statement means (PostgreSQL does, see :mod:`.tracer`); it refuses
what should never reach the server, tells the verb so that the transaction is READ ONLY before Parse, and is the witness
whose relation names must agree with the tree's. Whatever it cannot read is refused: on 42,168 statements of the
PostgreSQL regression suite its failures were 2 % of what agents may send at all.

Size and depth are judged on tokens, before parsing: the parser and PostgreSQL's analysis both recurse, and the tree
PostgreSQL prints is 230 to 550 times the text and quadratic in joins.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import sqlglot
from sqlglot import Dialect, exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.tokens import TokenType  # type: ignore[attr-defined]  # re-exported without __all__

from hoop_mcp.errors import Refused
from hoop_mcp.sql.commands import refused_command
from hoop_mcp.sql.spelling import plainer
from hoop_mcp.terms import RelationName, Statement, Token, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# sqlglot logs the text of what it only half understands; statements hold personal values.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL + 1)

MAX_BYTES = 65_536
MAX_TOKENS = 8_000
MAX_DEPTH = 48
MAX_PREFIX_RUN = 16
MAX_RELATIONS = 32
MAX_JOINS = 32
MAX_SELECTS = 48
MAX_NAME_BYTES = 63
_QUICK_CHARACTERS = 3_000
_QUICK_TOKENS = 500
_QUICK_DEPTH = 6
_QUICK_JOINS = 6
_PARAMETER_DIGITS = 3

_POSTGRES = Dialect.get_or_raise("postgres")
_QUOTED_BY_DOLLARS = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$")


class _WithoutDollarQuotes(Postgres):
    """For a text in which no ``$tag$`` stands, so that each ``$`` begins a parameter.

    The dialect's own tokenizer takes ``$1`` for the beginning of a dollar quote, looks for its end, and loses its place
    where a doubled quote (``''``) comes before it.
    """

    class Tokenizer(Postgres.Tokenizer):
        """As the dialect's."""

        HEREDOC_STRINGS: ClassVar[list[str | tuple[str, str]]] = []
        SINGLE_TOKENS: ClassVar[dict[str, TokenType]] = {**Postgres.Tokenizer.SINGLE_TOKENS, "$": TokenType.PARAMETER}


_PARAMETERS_ONLY = _WithoutDollarQuotes()


def _dialect(sql: str) -> Dialect:
    return _POSTGRES if _QUOTED_BY_DOLLARS.search(sql) else _PARAMETERS_ONLY


_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_OPERANDS = frozenset({TokenType.NULL, TokenType.TRUE, TokenType.FALSE, TokenType.STAR, TokenType.COMMA})
_NAMES = frozenset({TokenType.VAR, TokenType.IDENTIFIER})
_READS = (exp.Select, exp.SetOperation, exp.Values, exp.Subquery)
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
_CONTROLS = frozenset(map(chr, (*range(32), 127))) - frozenset("\t\n\r")
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_ESCAPED = frozenset("(){}\\")
_ESCAPED_FIRST = frozenset('<"+-0123456789')
_UNICODE_NAME = re.compile(r'[uU]&\s*"')


def read(sql: str) -> Statement:
    """Read one statement.

    Raises:
        Refused: HOOP201 empty, HOOP202 several, HOOP203 unreadable, HOOP205 a kind no agent may send, HOOP207 too
            large, HOOP208 disguising characters, HOOP209 a name of three parts, HOOP214 a parameter's number.
    """
    check_text(sql)
    tokens = _tokens(sql)
    if tokens and (refused := refused_command(sql[tokens[0].start : tokens[0].end + 1])):
        raise refused
    check_disguises(sql, tokens)
    _check_shape(tokens)
    root = _parse(sql, tokens)
    nodes = list(root.walk())
    verb = _verb(root, nodes)
    mentions = sum(isinstance(node, exp.Table) for node in nodes)  # each, not each name: a table beside itself is two
    if mentions > MAX_RELATIONS:
        raise _too_large(f"it names {mentions} relations, and {MAX_RELATIONS} is the most")
    relations = frozenset(_relations(root))
    return Statement(
        sql=sql,
        verb=verb,
        relations=relations,
        words=frozenset(_fold(token) for token in tokens if token.token_type in _NAMES),
        tokens=tuple(_journal_tokens(tokens)),
        has_literals=any(_kind(token) == "l" for token in tokens),
        parameters=_highest_parameter(tokens),
        locks=any(isinstance(node, exp.Lock) for node in nodes),
    )


def is_quick(sql: str) -> bool:
    """Whether :func:`read` is sure to be done in some milliseconds, whatever the text says.

    sqlglot tries, goes back and tries again: for ``date(date(…))``, or JOIN upon JOIN without ON, each level doubles the
    work, and 240 characters take longer than anybody lives. It is compiled, so neither a thread nor a signal ends it.
    What is not quick belongs into a process that can be killed. Direction: most of what is not quick here would be; it
    only costs the way there.
    """
    if len(sql) > _QUICK_CHARACTERS:
        return False
    try:
        tokens = _tokens(sql)
    except Refused:
        return True  # so will read(): it does not get as far as the parser
    if tokens and sql[tokens[0].start : tokens[0].end + 1].lower() == "explain":
        return is_quick(sql[tokens[0].end + 1 :])  # the tokenizer takes what follows for one word, its reader does not
    depth = deepest = joins = 0
    for token in tokens:
        kind = token.token_type
        if kind in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif kind in _CLOSING:
            depth -= 1
        elif kind is TokenType.JOIN:
            joins += 1
    return len(tokens) <= _QUICK_TOKENS and deepest <= _QUICK_DEPTH and joins <= _QUICK_JOINS


class Word(NamedTuple):
    """One word of a text as it is written there, and the place of its first character."""

    text: str
    start: int


def words(sql: str, start: int = 0) -> tuple[Word, ...]:
    """The words of *sql* from *start* on, comments left out; places count from the beginning of *sql*.

    Raises:
        Refused: HOOP203, it ends inside a literal, a quoted name or a comment.
    """
    rest = sql[start:]
    return tuple(Word(rest[token.start : token.end + 1], start + token.start) for token in _tokens(rest))


def check_text(sql: str) -> None:
    """Refuse what is no text to read: nothing at all, too much, control characters, names in ``U&"…"``."""
    if not sql.strip():
        raise Refused("HOOP201", "The statement is empty.")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        raise Refused("HOOP208", "The statement is not valid UTF-8.") from None
    if size > MAX_BYTES:
        raise _too_large(f"it has {size:,} bytes, and {MAX_BYTES:,} is the most")
    for character in sql:
        if character in _CONTROLS:
            raise Refused("HOOP208", f"The statement holds the control character U+{ord(character):04X}.")
    if _UNICODE_NAME.search(sql):
        raise Refused("HOOP208", 'The statement writes a name with U&"…", which can spell any other name.')


@lru_cache(maxsize=2)
def _tokens(sql: str) -> list[Any]:
    """The words of a text; asked for several times while it is read. Nobody changes the list."""
    try:
        return list(_dialect(sql).tokenize(sql))
    except Exception:
        raise _unreadable() from None


def check_disguises(sql: str, tokens: Sequence[Any] = ()) -> None:
    """Outside literals, refuse what cannot be seen, or looks like a space and is a letter to PostgreSQL."""
    if sql.isascii():
        return
    place = 0
    for token in [*tokens, None]:
        until = len(sql) if token is None else token.start if _kind(token) == "l" else token.end + 1
        for character in sql[place:until]:
            if character >= "\x80" and unicodedata.category(character) in _UNSEEN:
                raise _unseen(character)
        place = until if token is None else token.end + 1


def _check_shape(tokens: list[Any]) -> None:
    if len(tokens) > MAX_TOKENS:
        raise _too_large(f"it has {len(tokens):,} words, and {MAX_TOKENS:,} is the most")
    depth = run = joins = selects = 0
    for token in tokens:
        kind = token.token_type
        # A prefix operator nests without a bracket, and there are more of them than this tokenizer has names for: what
        # counts is how long no value comes.
        ends = kind in _OPENING or kind in _CLOSING or kind in _OPERANDS or _kind(token) in "il"
        run = 0 if ends else run + 1
        if kind in _OPENING:
            depth += 1
        elif kind in _CLOSING:
            depth -= 1
        elif kind is TokenType.JOIN:
            joins += 1
        elif kind is TokenType.SELECT:
            selects += 1
        elif kind is TokenType.IDENTIFIER:
            _check_name(token.text)
        elif kind is TokenType.VAR and len(token.text.encode()) > MAX_NAME_BYTES:
            raise _long_name()
        if depth > MAX_DEPTH or run > MAX_PREFIX_RUN:
            raise _too_large(f"it nests deeper than {MAX_DEPTH} levels")
    if joins > MAX_JOINS:
        raise _too_large(f"it has {joins} joins, and {MAX_JOINS} is the most")
    if selects > MAX_SELECTS:
        raise _too_large(f"it has {selects} sub-selects, and {MAX_SELECTS} is the most")


def _check_name(name: str) -> None:
    if len(name.encode()) > MAX_NAME_BYTES:
        raise _long_name()
    for character in name:
        if character != " " and unicodedata.category(character) in _UNSEEN:
            raise _unseen(character)
    # PostgreSQL writes each bracket of a name as two bytes where it prints its tree, and cuts a word of 78 bytes in two.
    escapes = sum(character in _ESCAPED for character in name) + (name[:1] in _ESCAPED_FIRST)
    if escapes + len(name.encode()) > MAX_NAME_BYTES:
        raise Refused("HOOP208", "A quoted name is long and full of brackets, and PostgreSQL could not print it whole.")


def _parse(sql: str, tokens: list[Any]) -> exp.Expr:
    roots = _roots(sql)
    if roots is None:
        pieces = [(sql[token.start : token.end + 1], token.start) for token in tokens]
        roots = next((found for text in plainer(sql, pieces) if (found := _roots(text)) is not None), None)
    if roots is None:
        raise _unreadable(_stop(sql))
    statements = [root for root in roots if root is not None and not isinstance(root, exp.Semicolon)]
    if not statements:
        raise Refused("HOOP201", "The statement is empty.")
    if len(statements) > 1:
        raise several(len(statements))
    return statements[0]


def _roots(sql: str) -> list[exp.Expr | None] | None:
    try:
        return list(_dialect(sql).parser().parse(_tokens(sql), sql))
    except RecursionError:
        raise _too_large("it nests too deep to read") from None
    except Exception:  # sqlglot raises TypeError and worse on odd input: unread is unread
        return None


def _verb(root: exp.Expr, nodes: Sequence[exp.Expr]) -> Verb:
    if not isinstance(root, (*_READS, *_WRITES)):
        raise _no_such_kind()
    verb = Verb.READ
    for kind in dict.fromkeys(map(type, nodes)):
        if issubclass(kind, _WRITES):
            verb = Verb.WRITE
        elif issubclass(kind, exp.Into):
            raise Refused("HOOP205", "SELECT INTO makes a table.", "Leave INTO out.")
        elif issubclass(kind, (exp.Command, exp.Create, exp.Drop, exp.Alter, exp.Set, exp.Copy, exp.Grant)):
            raise _no_such_kind()
    return verb


def _relations(root: exp.Expr) -> Iterable[RelationName]:
    for table in root.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function in FROM
        if table.args.get("catalog") is not None:
            raise Refused("HOOP209", "A name has three parts.", "Name tables as schema.table.")
        name = _folded(table.this)
        schema = _folded(table.args["db"]) if table.args.get("db") is not None else None
        if schema is None and _is_cte(table, name):
            continue
        yield RelationName(schema, name)


def _is_cte(table: exp.Expr, name: str) -> bool:
    """Whether *name*, where *table* stands, is a common table expression and not a relation."""
    child: exp.Expr = table
    parent = table.parent
    inside: exp.Expr | None = None
    while parent is not None:
        if isinstance(child, exp.CTE):
            inside = child
        held = parent.args.get("with_")
        if isinstance(held, exp.With):
            expressions = held.expressions
            if child is held and inside is not None and not held.recursive:
                # Inside a definition only the earlier ones are visible.
                expressions = expressions[: next(i for i, cte in enumerate(expressions) if cte is inside)]
            if any(_folded(cte.args["alias"].this) == name for cte in expressions):
                return True
        child, parent = parent, parent.parent
    return False


def _folded(identifier: Any) -> str:
    if not isinstance(identifier, exp.Identifier):
        raise _unreadable()
    return str(identifier.this) if identifier.args.get("quoted") else _lower(str(identifier.this))


def _fold(token: Any) -> str:
    return str(token.text) if token.token_type is TokenType.IDENTIFIER else _lower(str(token.text))


def _lower(name: str) -> str:
    # As PostgreSQL folds in UTF-8: ASCII only. The Kelvin sign is no k there, and É stays É.
    if name.isascii():
        return name.lower()
    return "".join(character.lower() if character.isascii() else character for character in name)


def _kind(token: Any) -> str:
    return _KINDS[token.token_type]


def _kind_of_type(kind: TokenType) -> str:
    if kind in _NAMES:
        return "i"
    if kind is TokenType.NUMBER or kind.name.endswith("STRING"):
        return "l"
    if kind is TokenType.PARAMETER:
        return "p"
    return "k"


_KINDS = {kind: _kind_of_type(kind) for kind in TokenType}


def _journal_tokens(tokens: list[Any]) -> Iterable[Token]:
    parameter = False
    for token in tokens:
        kind = _kind(token)
        if kind == "p":
            parameter = str(token.text) == "$"
            if not parameter:
                yield Token("k", str(token.text))
        elif parameter and kind == "l" and str(token.text).isdigit():
            parameter = False
            yield Token("p", f"${token.text}")
        elif kind == "i":
            parameter = False
            yield Token("i", _fold(token))
        elif kind == "l":
            parameter = False
            yield Token("l", "")
        else:
            parameter = False
            yield Token("k", str(token.text).upper())


def _highest_parameter(tokens: list[Any]) -> int:
    highest = 0
    for token, following in pairwise(tokens):
        if token.token_type is TokenType.PARAMETER and token.text == "$" and str(following.text).isdigit():
            if (
                len(str(following.text)) > _PARAMETER_DIGITS
            ):  # such a number is a value, and would be journaled in clear
                raise Refused("HOOP214", "A parameter of the statement has too high a number.")
            highest = max(highest, int(str(following.text)))
    return highest


def _no_such_kind() -> Refused:
    return Refused("HOOP205", "This is no kind of statement that an agent may send.")


def several(number: int) -> Refused:
    """The refusal of a text that holds more than one statement."""
    return Refused("HOOP202", f"The text holds {number} statements.")


def _unseen(character: str) -> Refused:
    return Refused("HOOP208", f"Outside a literal stands U+{ord(character):04X}, which a reader cannot see.")


def _long_name() -> Refused:
    return Refused("HOOP208", f"A name is longer than {MAX_NAME_BYTES} bytes, and PostgreSQL would cut it.")


def _too_large(why: str) -> Refused:
    return Refused("HOOP207", f"The statement is too large to analyse: {why}.")


def _unreadable(where: str = "") -> Refused:
    return Refused("HOOP203", f"The statement cannot be read as PostgreSQL SQL{where}.")


def _stop(sql: str) -> str:
    """`` from line 1, column 9 on``: where the reader got no further, if it says so; none of its own words."""
    try:
        sqlglot.parse(sql, read=_dialect(sql))
    except sqlglot.ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, end, word = first.get("line"), first.get("col"), first.get("highlight")
        if isinstance(line, int) and isinstance(end, int) and isinstance(word, str):
            return f" from line {line}, column {max(end - len(word) + 1, 1)} on"
    except Exception:  # as in _roots
        return ""
    return ""
