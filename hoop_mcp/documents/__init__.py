"""YAML text to located values and faults: ``file:line:col: what is wrong; did you mean 'x'?``.

A small, plain subset of YAML 1.1, read by events so that a hostile file is refused while it is being read:

* Every scalar is text. ``country: no`` stays ``"no"`` and ``1.10`` stays ``"1.10"``; the models give types.
* A key without a value is a fault: read as "not given" it could drop a condition.
* Anchors, aliases, merge keys, tags, directives and second documents are faults: a reader must see what a file says
  where it says it, and an alias can make a short file enormous.
* A key given twice is a fault, never "the last one wins".
* Characters that change how text is displayed (bidirectional controls, zero-width) are faults: the owner of the risk
  must see the same rule that the machine reads.
* Size, depth and the number of values are limited.

All faults of a file are told at once, as far as it can be read. What a fault says never holds the value of a key that
may carry a secret: a model that has one refuses it in its own words (:func:`wrong`).
"""

from hoop_mcp.documents.reading import Fault, Locator, Mark, Path, Plain, decode, load, spell
from hoop_mcp.documents.validating import Validated, quote, suggest, validate, wrong
from hoop_mcp.documents.values import NOT_BUILT, NOT_ENFORCED, Count, Document, Duration, Flag, Size, Slug, Text

__all__ = [
    "NOT_BUILT",
    "NOT_ENFORCED",
    "Count",
    "Document",
    "Duration",
    "Fault",
    "Flag",
    "Locator",
    "Mark",
    "Path",
    "Plain",
    "Size",
    "Slug",
    "Text",
    "Validated",
    "decode",
    "load",
    "quote",
    "spell",
    "suggest",
    "validate",
    "wrong",
]
