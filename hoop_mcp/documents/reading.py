"""One YAML document, read by events into plain values with their places, so that a hostile file is refused early."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import yaml
from yaml.reader import ReaderError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 12
MAX_VALUES = 100_000

Path: TypeAlias = "tuple[str | int, ...]"
Plain: TypeAlias = "str | list[Plain] | dict[str, Plain] | None"

# C0 and C1 controls but tab, line feed, carriage return; surrogates and non-characters; what reorders or hides text.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DISGUISE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


class Mark(NamedTuple):
    """A place in a file; both count from 1, the column in code points."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong, and where."""

    file: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.what}"


@dataclass(frozen=True, slots=True)
class Locator:
    """Where each value and key of one file stands, so that a fault found later still has its mark."""

    file: str
    _values: Mapping[Path, Mark] = field(repr=False)
    _keys: Mapping[Path, Mark] = field(repr=False)

    def at(self, path: Path) -> Mark:
        """The place of a value; a path that leads out of the file points at the nearest value that holds it."""
        while path and path not in self._values:
            path = path[:-1]
        return self._values.get(path, Mark(1, 1))

    def key(self, path: Path) -> Mark:
        """The place of the key that names a value, else of the value."""
        return self._keys.get(path) or self.at(path)

    def within(self, path: Path) -> Path:
        """The longest beginning of a path that the file has."""
        while path and path not in self._values:
            path = path[:-1]
        return path

    def fault(self, path: Path, what: str, *, at_key: bool = False) -> Fault:
        """A fault at a path, its words led by the path."""
        mark = self.key(path) if at_key else self.at(path)
        named = spell(path)
        return Fault(self.file, mark.line, mark.column, f"{named}: {what}" if named else what)


def spell(path: Path) -> str:
    """``rules[0].when.kind``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def decode(raw: bytes, file: str) -> tuple[str | None, tuple[Fault, ...]]:
    """UTF-8 bytes to text, or a fault at the first byte that is not UTF-8 (RFC 3629)."""
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        mark = _mark_in(before, len(before))
        return None, (Fault(file, mark.line, mark.column, "this byte is not UTF-8; save the file as UTF-8"),)


def load(text: str, file: str) -> tuple[Plain, tuple[Fault, ...], Locator]:
    """Read one YAML document as plain text values, lists and mappings.

    The value is as much of the document as could be read; use it only when there are no faults, or to find more.
    """
    reading = _Reading(file)
    value: Plain = None
    if len(text) > MAX_CHARACTERS:
        reading.say(Mark(1, 1), f"the file is larger than {MAX_CHARACTERS:,} characters")
    elif not reading.disguised(text):
        try:
            value = reading.document(text)
        except _Stop:
            value = None
        except yaml.MarkedYAMLError as error:
            value = None
            place = error.problem_mark or error.context_mark
            reading.say(_mark(place) if place else Mark(1, 1), "this cannot be read: " + _problem(error))
        except (ReaderError, RecursionError):  # unreachable after disguised() and the depth limit; stays a fault if not
            value = None
            reading.say(Mark(1, 1), "this cannot be read as YAML")
    return value, tuple(sorted(reading.faults)), Locator(file, reading.values, reading.keys)


# Reading by events.


class _Stop(Exception):
    """The rest of the file is not worth reading, or not safe to."""


class _Frame:
    """One open list or mapping."""

    __slots__ = ("holder", "key", "path")

    def __init__(self, holder: list[Plain] | dict[str, Plain], path: Path) -> None:
        self.holder = holder
        self.path = path
        self.key: str | None = None  # of a mapping whose value comes next

    @property
    def wants_key(self) -> bool:
        return isinstance(self.holder, dict) and self.key is None


class _Reading:
    """The state of reading one document; no recursion, so that depth is a number and not a stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}
        self._frames: list[_Frame] = []
        self._root: Plain = None
        self._count = 0
        self._documents = 0

    def say(self, mark: Mark, what: str) -> None:
        self.faults.append(Fault(self.file, mark.line, mark.column, what))

    def disguised(self, text: str) -> bool:
        body = text.removeprefix("\ufeff")
        bad = _UNPRINTABLE.search(body)
        if bad:
            self.say(_mark_in(body, bad.start()), f"the control character U+{ord(bad[0]):04X} may not stand in a file")
        hidden = _DISGUISE.search(body)
        if hidden:
            place = _mark_in(body, hidden.start())
            self.say(place, f"the character U+{ord(hidden[0]):04X} changes how the text is displayed; take it out")
        return bool(bad or hidden)

    def document(self, text: str) -> Plain:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    self._stop(event, "a second document starts here; a file holds one")
                if event.version or event.tags:
                    self.say(_mark(event.start_mark), "directives (%) are not used here")
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._frames.pop()
        return self._root

    def _stop(self, event: yaml.Event, what: str) -> NoReturn:
        self.say(_mark(event.start_mark), what)
        raise _Stop

    def _node(self, event: yaml.NodeEvent) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            self._stop(event, f"the file holds more than {MAX_VALUES:,} values")
        if isinstance(event, yaml.AliasEvent):
            self._stop(event, "aliases (*) are not used here; write the value out")
        if event.anchor is not None:
            self._stop(event, "anchors (&) are not used here; write the value out where it is needed")
        if getattr(event, "tag", None) is not None:
            self._stop(event, "tags (!) are not used here")
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.wants_key:
            self._key(frame, event)
            return
        path = self._place(frame)
        self.values.setdefault(path, _mark(event.start_mark))
        value: Plain
        if isinstance(event, yaml.ScalarEvent):
            value = event.value
            if event.value == "" and event.style is None and frame is not None:
                # An empty value read as "not given" could drop a condition: say so instead.
                value = None
                self.say(_mark(event.start_mark), f"{spell(path)}: a value is missing")
        else:
            value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            if len(self._frames) >= MAX_DEPTH:
                self._stop(event, f"the file is nested deeper than {MAX_DEPTH} levels")
        self._put(frame, value)
        if isinstance(value, list | dict):
            self._frames.append(_Frame(value, path))

    def _key(self, frame: _Frame, event: yaml.NodeEvent) -> None:
        mark = _mark(event.start_mark)
        if not isinstance(event, yaml.ScalarEvent):
            self._stop(event, "a key must be a word, not a list or a mapping")
        key = event.value
        if key == "<<":
            self._stop(event, "merge keys (<<) are not used here; write the values out")
        path = (*frame.path, key)
        if not key:
            self.say(mark, "a key is missing")
        elif path in self.keys:
            self.say(mark, f"{spell(path)}: key given twice")
            key = f"{key} (again)"  # so that what stands below it is not taken for given twice as well
        self.keys.setdefault((*frame.path, key), mark)
        frame.key = key

    @staticmethod
    def _place(frame: _Frame | None) -> Path:
        if frame is None:
            return ()
        if isinstance(frame.holder, list):
            return (*frame.path, len(frame.holder))
        return (*frame.path, frame.key or "")

    def _put(self, frame: _Frame | None, value: Plain) -> None:
        if frame is None:
            self._root = value
        elif isinstance(frame.holder, list):
            frame.holder.append(value)
        else:
            frame.holder[frame.key or ""] = value
            frame.key = None


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _mark_in(text: str, index: int) -> Mark:
    return Mark(text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1)


_PROBLEMS = (
    ("mapping values are not allowed", "a ':' stands where no value can begin; quote the text or mend the indentation"),
    ("could not find expected ':'", "a ':' is missing after a key"),
    ("expected <block end>", "the indentation does not fit what stands above"),
    ("expected ',' or ']'", "a ',' or a ']' is missing"),
    ("expected ',' or '}'", "a ',' or a '}' is missing"),
    ("found unexpected end of stream", "a quote is opened and not closed"),
    ("found character", "a value starts with a tab or with a character that YAML reserves; indent by spaces, quote it"),
)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Our words for the scanner's complaint; its own quote pieces of the file, which may be a secret."""
    problem = error.problem or ""
    return next((ours for theirs, ours in _PROBLEMS if problem.startswith(theirs)), "look at quotes, ':' and indents")
