"""What a plan does on shares, as names: operators with their kinds, functions and aggregates with the sort of their values."""

from __future__ import annotations

from collections.abc import Iterator

from sdh.planners.expressions import Apply, Case, Cast, Expression, walk
from sdh.planners.logical import Call
from sdh.planners.physical import Node, expressions, inputs
from sdh.planners.plan import Plan
from sdh.schema import Kind, Type


def features(plan: Plan) -> frozenset[str]:
    """Of a local plan: none."""
    if plan.root is None:
        return frozenset()
    released = (name for _, e in plan.root.outputs for name in _expression(e))
    return frozenset([*_tree(plan.root.input), *released, *(["error"] if plan.may_fail else [])])



def nodes(node: Node) -> Iterator[Node]:
    yield node
    for part in inputs(node):
        yield from nodes(part)


def _tree(root: Node) -> Iterator[str]:
    for node in nodes(root):
        yield _operator(node)
        for call in getattr(node, "calls", ()):
            yield f"{type(node).__name__} {_call(call)}"
        for e in expressions(node):
            yield from _expression(e)


def _operator(node: Node) -> str:
    """Its class, its kind or arrangement, and which of its optional parts there are."""
    words = [type(node).__name__]
    for name in ("kind", "arrangement", "way"):
        words += [str(getattr(node, name))] if hasattr(node, name) else []
    for name in ("condition", "filter", "keys", "owner_keys", "domain_keys"):
        words += [f"with {name}"] if getattr(node, name, None) else []
    return " ".join(words)


def _call(call: Call) -> str:
    sort = _sort(call.arguments[0].type) if call.arguments else "row"
    return f"{call.function} of {sort}"


def _expression(e: Expression) -> Iterator[str]:
    for part in walk(e):
        match part:
            case Apply(function, arguments):
                yield f"{function} of {_sort(arguments[0].type) if arguments else 'nothing'}"
            case Case() | Cast():
                yield f"{type(part).__name__} to {_sort(part.type)}"
            case _:
                pass


def _sort(type_: Type) -> str:
    """As it is on shares: words, a bit, or a number."""
    match type_.kind:
        case Kind.VARCHAR:
            return "text"
        case Kind.BOOLEAN:
            return "truth"
        case _:
            return "number"
