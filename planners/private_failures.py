"""Where noise is, nothing may fail for what the data are: below it, whether it failed would be an exact answer; above it, in the
clear at one owner of several and before the answer is charged, it would tell of the noisy one, free of charge and anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdh.errors import Unsupported
from sdh.planners.failing import failing, several
from sdh.planners.logical import Node, Noised, Private, inputs, nodes
from sdh.planners.render import readable


def refuse_failures(block: Private) -> None:
    """Below the noise. Raises Unsupported at the block's place."""
    at = block.terms.at
    for what, advice in _failures((*nodes(block.input), block.aggregate)):
        raise Unsupported(f"WITH DIFFERENTIAL_PRIVACY shows no errors, and {what}.", advice=advice,
                          line=at.line, column=at.column)  # fmt: skip


def refuse_failures_after_noise(node: Node) -> None:
    """node: all that one owner of several works out. Raises Unsupported."""
    for what, _ in _failures(one for one in nodes(node) if _is_above_noise(one)):
        raise Unsupported(f"An owner shows no errors of its answer WITH DIFFERENTIAL_PRIVACY to another, and {what}.",
                          advice="Write TRY_CAST or nullif, or ask for each owner's answer in a query of its own.")


def _failures(found: Iterable[Node]) -> Iterator[tuple[str, str]]:
    """What may fail, and what to do about it."""
    for node in found:
        for e in failing(node):
            yield f"{readable(e)} may fail", "Write TRY_CAST, or have bounds= declared for its columns."
        if several(node):
            yield "a subquery or a key that only the client declared may", "Aggregate, or leave the key out."


def _is_above_noise(node: Node) -> bool:
    return any(isinstance(below, Noised) for part in inputs(node) for below in nodes(part))
