"""Below the noise nothing may fail for what the data are: whether it failed would be an exact answer."""

from __future__ import annotations

from sdh.errors import Unsupported
from sdh.planners.failing import failing, several
from sdh.planners.logical import Private, nodes
from sdh.planners.render import readable


def refuse_failures(block: Private) -> None:
    """Raises Unsupported at the block's place."""
    for node in (*nodes(block.input), block.aggregate):
        for e in failing(node):
            raise _refused(block, f"{readable(e)} may fail", "Write TRY_CAST, or have bounds= declared for its columns.")
        if several(node):
            raise _refused(block, "a subquery or a key that only the client declared may", "Aggregate, or leave the key out.")


def _refused(block: Private, what: str, advice: str) -> Unsupported:
    at = block.terms.at
    return Unsupported(f"WITH DIFFERENTIAL_PRIVACY shows no errors, and {what}.", advice=advice, line=at.line, column=at.column)
