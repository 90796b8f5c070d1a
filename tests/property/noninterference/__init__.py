"""Non-interference: what an agent gets must not depend on what the catalogue calls personal.

Two databases differ in catalogued values and in nothing else (:mod:`.twins`). A grammar makes statements
(:mod:`.statements`, :mod:`.expressions`), the whole line answers each on both (:mod:`.line`), and answers, refusals and
order must be the same to the byte (:mod:`.campaign`). What differs is made small (:mod:`.shrink`).

Two exceptions are the notes' own and are kept out of the way: NULL stands at the same places on both sides, and what a
lookup asks for is on neither. Statistics exist on neither side, so both plan alike.
"""
