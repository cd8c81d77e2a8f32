"""Columns of a relation computed once for all that read them, or under other numbers: what an owner knew it still knows."""

from __future__ import annotations

from sdh.executors.appending import shaped
from sdh.executors.scope import Scope
from sdh.executors.values import Relation, Value
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Ref
from sdh.planners.physical import Project


def project(node: Project, scope: Scope) -> Relation:
    """The same rows with the node's outputs for columns. Renaming is local; what is computed costs what it costs a row."""
    relation, columns = scope.relation, dict[int, Value]()
    for (field, e), column in zip(node.outputs, traits(node).columns, strict=True):
        columns[field.number] = relation.columns[e.field.number] if isinstance(e, Ref) else shaped(e, column, scope)
    olds = [(field.number, e.field.number) for field, e in node.outputs if isinstance(e, Ref)]
    clear = {new: relation.clear[old] for new, old in olds if old in relation.clear}
    return Relation(relation.slots, relation.valid, columns, clear, relation.real)
