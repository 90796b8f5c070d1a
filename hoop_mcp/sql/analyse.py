"""Both readers' findings to one Analysis: trees read, paired and traced, and the two readers made to agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hoop_mcp.errors import Refused
from hoop_mcp.sql.bodies import bodies_behind, closure
from hoop_mcp.sql.expressions import not_understood, unvouched
from hoop_mcp.sql.facts import FIRST_NORMAL_OID, CatalogFacts
from hoop_mcp.sql.forms import Forms
from hoop_mcp.sql.functions import vouched_functions
from hoop_mcp.sql.groups import people
from hoop_mcp.sql.growth import check_growth
from hoop_mcp.sql.metadata import METADATA
from hoop_mcp.sql.oids import Oids, collect
from hoop_mcp.sql.tracer import Tracer
from hoop_mcp.sql.tree import Node, NodeSchema, check_size, read_unwrapped, unwrap
from hoop_mcp.terms import Analysis, OutputColumn, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from hoop_mcp.sql.facts import RelationFacts
    from hoop_mcp.terms import Statement

MAX_EXPANDED = 32
"""Relations a statement may reach with its views expanded, each mention counted: joins multiply."""

MAX_COLUMNS = 200
_VIRTUAL_SINCE = 18
_LIST_BRACKETS = 4
"""How much longer the list of one tree is than the tree, wrapping included."""


@dataclass(frozen=True, slots=True)
class Trees:
    """The parse tree and the rewritten tree of one statement, and every OID the catalogs must explain.

    ``named`` are the OIDs of the parse tree, ``inner`` those of the rewritten one, ``entries`` its range table entries at
    every level.
    """

    parse: Node = field(repr=False)
    rewritten: Node = field(repr=False)
    oids: Oids
    named: Oids
    inner: Oids
    entries: tuple[Node, ...] = field(repr=False)


def read_trees(parse_dump: str, rewritten_dump: str, schema: NodeSchema) -> Trees:
    """Read the two dumps of one Parse.

    Raises:
        Refused: HOOP211, HOOP207, HOOP208 as :mod:`.tree`; HOOP206 where a rule turned the statement into several.
    """
    check_size(parse_dump)
    check_size(rewritten_dump)
    parse_text, rewritten_text = unwrap(parse_dump).strip(), unwrap(rewritten_dump).strip()
    parse = read_unwrapped(parse_text, schema)
    # Where the rewriter changed nothing it prints the same text in a list of one: one reading serves for both.
    same = rewritten_text[:1] == "(" and rewritten_text[-1:] == ")" and rewritten_text[1:-1] == parse_text
    rewritten = [parse] if same else read_unwrapped(rewritten_text, schema)
    if type(parse) is not Node or parse.tag != "QUERY":
        raise not_understood("a statement that is not a query")
    if type(rewritten) is not list or len(rewritten) != 1 or type(rewritten[0]) is not Node:
        raise Refused("HOOP206", "A rule turns the statement into something other than one read.")
    entries: list[Node] = []
    inner = collect(rewritten[0], entries=entries)
    named = inner if same else collect(parse)
    return Trees(parse, rewritten[0], inner if same else named | inner, named, inner, tuple(entries))


def analyse(statement: Statement, trees: Trees, facts: CatalogFacts, columns: Sequence[tuple[str, str]]) -> Analysis:
    """Trace the statement.

    Args:
        statement: the offline reading, which must agree with the tree.
        trees: both trees of this Parse.
        facts: what the catalogs say of ``trees.oids``.
        columns: name and ``pg_type.typname`` of each output column, as the server described them.

    Raises:
        Refused: whatever is not understood, not vouched for, or not agreed on.
    """
    named = trees.named.relations
    _readers_agree(statement, [_relation(facts, oid) for oid in named])
    opaque = _metadata_views(trees.parse, trees.rewritten, facts)
    for function in bodies_behind(trees.oids, facts.functions).values():
        if function.body is not None:
            opaque |= _metadata_views(function.body.parse, function.body.rewritten, facts)
    entries = list(trees.entries)
    own = trees.inner
    if opaque:
        entries = []
        own = collect(trees.rewritten, opaque=frozenset(opaque), entries=entries)
    inner = closure(own, facts.functions, frozenset(opaque))
    _everything_is_vouched(statement, inner, facts)
    _count(entries, opaque, facts, columns)
    tracer = Tracer(facts, opaque)
    try:
        check_growth(trees.rewritten, facts, opaque)
        flows = tracer.subquery(trees.rewritten, None)
        forms = Forms(facts, opaque).of(trees.rewritten)
        groups = people(trees.rewritten, facts, opaque, named)
    except LookupError:
        raise not_understood("a variable that reaches out of the statement") from None
    except RecursionError:
        raise Refused("HOOP207", "The statement nests deeper than this gateway analyses.") from None
    if statement.locks and not tracer.locks:
        raise Refused("HOOP210", "The two readers of this statement disagree about whether it locks rows.")
    if not len(flows) == len(columns) == len(forms):
        raise Refused("HOOP210", "The tree and the server's description give different numbers of columns.")
    relations = frozenset(_relation(facts, oid).full_name for oid in named)
    reached = frozenset(_relation(facts, oid).full_name for oid in inner.relations)
    return Analysis(
        verb=Verb.READ,
        columns=tuple(
            OutputColumn(name, type_name, flow, form)
            for (name, type_name), flow, form in zip(columns, flows, forms, strict=True)
        ),
        probes=tracer.probes,
        lookups=frozenset(tracer.lookups),
        relations=relations,
        behind=(reached | tracer.told) - relations,
        functions=frozenset(tracer.functions),
        reads=frozenset(tracer.reads),
        locks=tracer.locks,
        unnamed=tracer.secured or _involves_the_unnamed(trees, facts, named),
        guesses=tracer.guesses,
        groups=groups,
    )


def _count(
    entries: Sequence[Node], opaque: Mapping[int, int], facts: CatalogFacts, columns: Sequence[tuple[str, str]]
) -> None:
    """Refuse what is too wide, or reaches too much once its views are expanded."""
    if len(columns) > MAX_COLUMNS:
        raise Refused(
            "HOOP207", f"The statement is too large to analyse: {len(columns)} columns, and {MAX_COLUMNS} is the most."
        )
    reached = 0
    for entry in entries:
        if id(entry) in opaque:
            reached += 1
        elif entry["rtekind"] == "0":
            # Before PostgreSQL 16 an expanded view leaves two entries of itself behind, which are read by nobody.
            relation = facts.relations.get(entry.number("relid"))
            reached += relation is None or relation.kind != "v"
    if reached > MAX_EXPANDED:
        raise Refused(
            "HOOP207",
            f"The statement is too large to analyse: with its views expanded it reaches {reached} relations,"
            f" and {MAX_EXPANDED} is the most.",
        )


def _relation(facts: CatalogFacts, oid: int) -> RelationFacts:
    relation = facts.relations.get(oid)
    if relation is None:
        raise Refused("HOOP213", "The statement reaches a relation that is not open to anyone here.")
    return relation


def _readers_agree(statement: Statement, named: list[RelationFacts]) -> None:
    """PostgreSQL is the authority; sqlglot is the witness that must have seen the same relations."""
    in_tree = {(relation.schema, relation.name) for relation in named}
    for seen in statement.relations:
        if not any(seen.name == name and seen.schema in (None, schema) for schema, name in in_tree):
            raise _disagreement()
    for schema, name in in_tree:
        if not any(seen.name == name and seen.schema in (None, schema) for seen in statement.relations):
            raise _disagreement()


def _involves_the_unnamed(trees: Trees, facts: CatalogFacts, named: AbstractSet[int]) -> bool:
    """Whether a plan would tell of anything that stands in no part of the statement.

    The facts hold every relation reached, children and the relations behind views among them. A virtual generated column
    (PostgreSQL 18) is replaced by its expression while planning.
    """
    if named != facts.relations.keys() or any(facts.relations[oid].kind not in "rm" for oid in named):
        return True
    if facts.major >= _VIRTUAL_SINCE and any(
        column.derived and relation.kind == "r"
        for relation in facts.relations.values()
        for column in relation.columns.values()
    ):
        return True
    return any((known := facts.functions.get(oid)) is None or not known.builtin for oid in trees.oids.functions)


def _disagreement() -> Refused:
    return Refused("HOOP210", "The two readers of this statement disagree about which tables it names.")


def _metadata_views(parse: Node, rewritten: Node, facts: CatalogFacts) -> dict[int, int]:
    """``id()`` of each expanded range table entry that the parse tree names as a vouched catalog view -> its OID.

    The rewriter replaces a view's entry in place and never reorders, so both trees are walked in step; names of the
    entry and of its columns must be the same on both sides.
    """
    views = {
        oid
        for oid, relation in facts.relations.items()
        if relation.metadata and relation.kind == "v" and relation.full_name in METADATA
    }
    found: dict[int, int] = {}
    if not views or not views & collect(parse).relations:
        return found
    stack: list[tuple[Any, Any]] = [(parse, rewritten)]
    while stack:
        one, other = stack.pop()
        if type(one) is list and type(other) is list:
            stack.extend(zip(one, other, strict=False))
        elif type(one) is Node and type(other) is Node and one.tag == other.tag:
            if one.tag == "RANGETBLENTRY" and one["rtekind"] == "0" and other["rtekind"] == "1":
                oid = one.number("relid")
                if oid in views and one["eref"] == other["eref"]:
                    found[id(other)] = oid
                continue
            stack.extend((value, other.get(key)) for key, value in one.items())
    return found


def _everything_is_vouched(statement: Statement, oids: Oids, facts: CatalogFacts) -> None:
    vouched = vouched_functions()
    for oid in sorted(oids.functions):
        function = facts.functions.get(oid)
        if function is None:
            raise not_understood("a function the catalogs do not list")
        if not (function.signature in vouched if function.builtin else function.answered_for):
            # Only a name the agent wrote itself is said back; one behind a view stays there.
            written = function.name in statement.words or function.builtin
            raise unvouched(function.full_name if written else "a function behind a view")
    # An operator is another way to write a call, and its function was judged above. Sorting and grouping run the
    # functions of an operator class, which stand in no tree.
    for kind, made, known in (
        ("operator", oids.operators, facts.operators | facts.ordering),
        ("operator to sort or group by", oids.sorting, facts.ordering),
        ("collation", oids.collations, frozenset[int]()),
        ("operator class", oids.classes, facts.families),
    ):
        if any(oid >= FIRST_NORMAL_OID for oid in made - known):
            raise unvouched(f"a user-defined {kind}")
    for oid in oids.types:
        kind_of_type = facts.types.get(oid)
        if kind_of_type is None or kind_of_type.hazardous:
            name = (
                kind_of_type.name if kind_of_type is not None and kind_of_type.name in statement.words else "a column"
            )
            raise Refused("HOOP212", f"The type of {name} runs code that nobody here has vouched for.")
