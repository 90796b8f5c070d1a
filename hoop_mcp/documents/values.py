"""The kinds of value that settings, policies and catalogues share. Files give text; these give types."""

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema

from hoop_mcp.documents.validating import quote, wrong

_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_DURATION_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE: Final = re.compile(r"([1-9][0-9]{0,8})(B|kB|MB|GB|KiB|MiB|GiB)")
_SIZE_BYTES: Final = {
    "B": 1,
    "kB": 1000,  # the smaller reading of kB: a limit errs on the strict side
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


class Document(BaseModel):
    """A mapping with known keys only."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False, hide_input_in_errors=True)


def _flag(value: Any) -> bool:
    if value == "true":
        return True
    if value == "false":
        return False
    raise wrong("true or false is expected here")


def _count(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,8}", value):
        return int(value)
    raise wrong("a whole number from 1 to 999999999 is expected here")


def _duration(value: Any) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _DURATION_MS[match[2]]
    raise wrong("a length of time is expected here, such as 500ms, 5s, 15m, 4h or 30d")


def _size(value: Any) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _SIZE_BYTES[match[2]]
    raise wrong("a size is expected here, such as 500B, 200kB or 1MB")


def _slug(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,62}", value):
        return value
    if isinstance(value, str):
        raise wrong(f"{quote(value)} is not a name: start with a-z, then a-z, digits and dashes, 63 characters at most")
    raise wrong("a name is expected here")


def _not_enforced(_: Any) -> Any:
    raise wrong("not enforced yet: take the key out, it would be believed and do nothing")


def _not_built(_: Any) -> Any:
    raise wrong("not built yet: take the key out")


Flag = Annotated[bool, BeforeValidator(_flag)]
"""``true`` or ``false``, nothing else."""

Count = Annotated[int, BeforeValidator(_count), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 999999999})]
"""A positive whole number."""

Duration = Annotated[
    int, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})
]
"""A length of time, in milliseconds once read."""

Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$"})]
"""A size, in bytes once read."""

Slug = Annotated[str, BeforeValidator(_slug), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$"})]
"""A name of ours: a policy, a rule, a role, a purpose, a category."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
"""Words for people."""

NOT_ENFORCED: Final = BeforeValidator(_not_enforced)
"""Marks a key of the language whose meaning is not built: giving it is a fault, so that nobody believes in it."""

NOT_BUILT: Final = BeforeValidator(_not_built)
"""Marks a key of the settings whose work has not landed."""
