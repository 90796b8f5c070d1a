"""The names of functions as catalogue and policy write them: ``app.refund(bigint)``, as ``regprocedure`` prints it.

The schema always stands there, and so does that of a type somebody made: what a bare name means depends on a search
path, and a rule that silently names nothing would leave a function open. Two spellings of one type are one function,
so only PostgreSQL's own spelling is taken (``integer``, not ``int4``). PostgreSQL, 8.19 and 9.26.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

from hoop_mcp.documents import quote, suggest, wrong

PART: Final = r'(?:[a-z_\u0080-\uffff][a-z0-9_$\u0080-\uffff]*|"(?:[^"]|"")+")'
"""One part of a dotted name in SQL's spelling."""

_BARE = re.compile(r"[a-z_\u0080-\uffff][a-z0-9_$\u0080-\uffff]*")
_SIGNATURE = re.compile(rf"({PART})\.({PART})\((.*)\)", re.DOTALL)
_MADE_TYPE = re.compile(rf"{PART}\.{PART}")
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_ALIASES: Final = {
    "bool": "boolean",
    "bpchar": "character",
    "char": "character",
    "dec": "numeric",
    "decimal": "numeric",
    "double": "double precision",
    "float": "double precision",
    "float4": "real",
    "float8": "double precision",
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "serial": "integer",
    "bigserial": "bigint",
    "string": "text",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "timetz": "time with time zone",
    "varbit": "bit varying",
    "varchar": "character varying",
}
_WORDS = """smallint integer bigint real numeric boolean text character bytea date interval name uuid json jsonb xml inet
cidr macaddr macaddr8 money bit tsvector tsquery point line lseg box path polygon circle oid regclass regproc regprocedure
regtype regrole regnamespace regoper regoperator regconfig regdictionary regcollation int4range int8range numrange tsrange
tstzrange daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange record
refcursor pg_lsn xid xid8 cid tid txid_snapshot pg_snapshot jsonpath anyelement anyarray anynonarray anyenum anyrange
anymultirange anycompatible anycompatiblearray anycompatiblenonarray anycompatiblerange anycompatiblemultirange cstring
internal void trigger event_trigger "any" "char\""""
_BUILT_IN: Final = frozenset({*_WORDS.split(), *_ALIASES.values()})
"""Every type that ``format_type`` prints without a schema."""


def read_signature(text: str) -> str:
    """A signature in the one form there is of it.

    Raises:
        PydanticCustomError: it is not one; the message says what is expected.
    """
    match = _SIGNATURE.fullmatch(text.strip())
    if match is None:
        raise wrong(f"{quote(text)} is not a function: write schema.name(type,type), such as app.refund(bigint)")
    schema, name, arguments = match.groups()
    if schema in ("pg_catalog", "information_schema"):
        raise wrong(f"{quote(text)}: PostgreSQL's own functions are judged by this product and cannot be named here")
    types = [_type(each.strip(), text) for each in _COMMA.split(arguments)] if arguments.strip() else []
    return f"{_plain(schema)}.{_plain(name)}({','.join(types)})"


def _type(written: str, text: str) -> str:
    bare, array = (written[:-2].rstrip(), "[]") if written.endswith("[]") else (written, "")
    bare = " ".join(bare.split()) if '"' not in bare else bare
    if bare in _BUILT_IN or _MADE_TYPE.fullmatch(bare):
        return (bare if bare in _BUILT_IN else ".".join(map(_plain, re.findall(PART, bare)))) + array
    if (right := _ALIASES.get(bare.lower())) is not None:
        raise wrong(f"{quote(text)}: PostgreSQL writes the type {bare}{array} as {right}{array}")
    if "(" in bare:
        raise wrong(f"{quote(text)}: a function's types have no length: write numeric, not numeric(10,2)")
    if bare.lower() in _BUILT_IN:
        raise wrong(f"{quote(text)}: PostgreSQL writes the type {bare}{array} as {bare.lower()}{array}")
    hint = suggest(bare, _BUILT_IN)
    raise wrong(f"{quote(text)}: {quote(bare)} is no built-in type; a type of your own needs its schema{hint}")


def spell(schema: str, name: str, types: Sequence[tuple[str, str, bool]]) -> str:
    """The signature of a function as the catalogs hold it.

    Args:
        schema: its own.
        name: its own.
        types: of each argument the schema, the name (a built-in one's as ``format_type`` prints it) and whether it is
            an array of that.
    """
    spelled = (
        (kind if home == "pg_catalog" else f"{_quoted(home)}.{_quoted(kind)}") + ("[]" if array else "")
        for home, kind, array in types
    )
    return f"{_quoted(schema)}.{_quoted(name)}({','.join(spelled)})"


def _plain(part: str) -> str:
    """A part as written, in quotes only where it needs them (a key word does not, here)."""
    return _quoted(part[1:-1].replace('""', '"')) if part.startswith('"') else part


def _quoted(name: str) -> str:
    return name if _BARE.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def function_schema(signature: str) -> tuple[str, str]:
    """The schema, unquoted, and the rest of a signature read by :func:`read_signature`."""
    match = re.match(PART, signature)
    schema = match[0] if match is not None else ""
    rest = signature[len(schema) + 1 :]
    return (schema[1:-1].replace('""', '"') if schema.startswith('"') else schema), rest


def _function_name(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong("a function is expected here, such as app.refund(bigint)")
    return read_signature(value)


FunctionName = Annotated[str, BeforeValidator(_function_name), WithJsonSchema({"type": "string"})]
"""``schema.name(type,type)``."""
