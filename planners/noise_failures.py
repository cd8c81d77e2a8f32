"""What an owner works out of its own noisy answer, in the clear and before the answer is charged, may not fail: that it
failed would tell of the answer, free of charge and anew each time it is asked."""

from __future__ import annotations

from sdh.errors import Unsupported
from sdh.planners.failing import failing, several
from sdh.planners.logical import Node, Noised, inputs, nodes
from sdh.planners.render import readable


def refuse_failures_after_noise(node: Node) -> None:
    """node: all that one owner of several works out. Raises Unsupported."""
    for one in nodes(node):
        if any(isinstance(below, Noised) for part in inputs(one) for below in nodes(part)):
            for e in failing(one):
                raise _refused(f"{readable(e)} may fail")
            if several(one):
                raise _refused("a subquery or a key that only the client declared may")


def _refused(what: str) -> Unsupported:
    return Unsupported(f"An owner shows no errors of its answer WITH DIFFERENTIAL_PRIVACY to another, and {what}.",
                       advice="Write TRY_CAST or nullif, or ask for each owner's answer in a query of its own.")
