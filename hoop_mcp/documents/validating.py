"""Plain values to a model, and pydantic's complaints in our own sentences."""

import difflib
import re
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from hoop_mcp.documents.reading import Fault, Locator, Path, load, spell

_SHOWN_CHARACTERS = 40

Model = TypeVar("Model", bound=BaseModel)


class Validated(NamedTuple, Generic[Model]):
    """What :func:`validate` found: ``value`` is None if and only if there are faults."""

    value: Model | None
    faults: tuple[Fault, ...]
    locator: Locator


def wrong(what: str) -> PydanticCustomError:
    """A fault to raise inside a pydantic validator, in our own words; ``what`` must hold no secret."""
    return PydanticCustomError("ours", "{what}", {"what": what})


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'partial'?`` for a near miss, else the known words when they are few, else nothing."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    if 0 < len(words) <= 8:
        return "; known: " + ", ".join(words)
    return ""


def validate(text: str, file: str, model: type[Model]) -> Validated[Model]:
    """Read a file as *model*; every fault at once, each with its place.

    Pydantic's own sentences never reach a reader: they are translated here.
    """
    plain, faults, locator = load(text, file)
    found = list(faults)
    value: Model | None = None
    if plain is None:
        if not found:
            found.append(Fault(file, 1, 1, "the file is empty"))
    elif not isinstance(plain, dict):
        mark = locator.at(())
        found.append(Fault(file, mark.line, mark.column, "keys with values are expected here"))
    else:
        try:
            value = model.model_validate(plain)
        except ValidationError as error:
            found.extend(_translated(error, model, locator))
    unique = tuple(sorted(set(found)))
    return Validated(None if unique else value, unique, locator)


# Pydantic's faults in our words.


def _translated(error: ValidationError, model: type[BaseModel], locator: Locator) -> Iterator[Fault]:
    details = error.errors(include_url=False)
    places: set[Path] = {tuple(detail["loc"]) for detail in details}
    for detail in details:
        path: Path = tuple(detail["loc"])
        if detail["input"] is None:
            continue  # the reader has told that a value is missing
        if detail["type"] == "too_short" and any(place[: len(path)] == path and place != path for place in places):
            continue  # pydantic's echo: the entries are there and have faults of their own
        at_key = False
        if path and path[-1] == "[key]":
            path, at_key = path[:-1], True
        if detail["type"] == "missing":
            holder = locator.within(path[:-1])
            named = spell((*holder, path[-1]))
            mark = locator.at(holder)
            yield Fault(locator.file, mark.line, mark.column, f"{named}: this key is missing")
            continue
        if detail["type"] == "extra_forbidden" and str(path[-1]).endswith(" (again)"):
            continue  # told already
        if detail["type"] == "extra_forbidden":
            known = _keys_of(model, path[:-1])
            what = "unknown key" + suggest(str(path[-1]), known)
            yield locator.fault(path, what, at_key=True)
            continue
        yield locator.fault(locator.within(path), _sentence(detail), at_key=at_key)


def _sentence(detail: ErrorDetails) -> str:
    kind = detail["type"]
    context = detail.get("ctx", {})
    given = detail.get("input")
    if kind == "ours":
        return str(context["what"])
    if kind == "literal_error":
        known = tuple(re.findall(r"'([^']*)'", str(context["expected"])))
        if not isinstance(given, str):
            return "one word is expected here, of: " + ", ".join(known)
        return f"{quote(given)} is not known here" + suggest(given, known)
    if kind in {"string_type", "bool_type", "int_type"}:
        return "one value is expected here, not a list or a mapping"
    if kind in {"tuple_type", "list_type", "set_type", "frozen_set_type"}:
        return "a list is expected here" + (f": [{given}]" if isinstance(given, str) and len(given) <= 20 else "")
    if kind in {"model_type", "model_attributes_type", "dict_type", "mapping_type", "dataclass_type"}:
        return "keys with values are expected here"
    if kind == "string_pattern_mismatch":
        return f"the form is wrong; expected {context['pattern']}"
    bounds = {
        "greater_than": ("gt", "must be greater than {}"),
        "greater_than_equal": ("ge", "must be at least {}"),
        "less_than": ("lt", "must be less than {}"),
        "less_than_equal": ("le", "must be at most {}"),
        "string_too_short": ("min_length", "needs at least {} characters"),
        "string_too_long": ("max_length", "may have at most {} characters"),
        "too_short": ("min_length", "needs at least {} entries"),
        "too_long": ("max_length", "may have at most {} entries"),
    }
    if kind in bounds:
        name, sentence = bounds[kind]
        said = sentence.format(context[name])
        return said.replace("1 characters", "1 character").replace("1 entries", "1 entry")
    return "the value does not fit here"


def quote(text: str) -> str:
    """A short word of the file, quoted and escaped for a message."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return repr(shown)


def _keys_of(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """The keys a model knows at a path, through nested models, lists and mappings with free keys."""
    here: Any = model
    for step in path:
        here = _below(here, step)
    inner = _only(here, BaseModel)
    return () if inner is None else tuple(field.alias or name for name, field in inner.model_fields.items())


def _below(annotation: Any, step: str | int) -> Any:
    inner = _only(annotation, BaseModel)
    if inner is not None:
        fields = {field.alias or name: field.annotation for name, field in inner.model_fields.items()}
        return fields.get(str(step))
    for kind, place in ((dict, 1), (tuple, 0)):
        found = _only(annotation, kind)
        if found is not None:
            return get_args(found)[place]
    return None


def _only(annotation: Any, kind: type) -> Any:
    """The part of an annotation (optional, annotated) that is of one kind."""
    if isinstance(annotation, type) and issubclass(annotation, kind) and not get_args(annotation):
        return annotation
    if get_origin(annotation) is kind:
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((found for part in get_args(annotation) if (found := _only(part, kind)) is not None), None)
    return None
