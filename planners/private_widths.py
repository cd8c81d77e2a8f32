"""What a unit adds before it is clamped: where owners together work it out, on shares, it has to fit there."""

from __future__ import annotations

from collections.abc import Iterable

from sdh.catalog import padded
from sdh.errors import Unsupported, WidthError
from sdh.planners.columns import call_shared
from sdh.planners.facts import known
from sdh.planners.logical import Call, Node, PrivateCall
from sdh.planners.private_calls import title
from sdh.planners.private_terms import owners_of


def refuse_wide_totals(rows: Node, calls: Iterable[tuple[PrivateCall, Call]]) -> None:
    """calls: of the block, and what is summed for them over a unit's rows. Raises WidthError."""
    if len(owners_of(rows)) < 2:
        return   # its owner clamps it in the clear
    found = known(rows)
    for one, call in calls:
        try:
            call_shared(call, found.columns, padded(found.rows))
        except WidthError:
            raise WidthError(
                f"What a unit adds to {title(one.call)} might not fit 63 bits on shares before it is bounded.",
                advice="Bound each row, contribution_bounds_per_row => (low, high), or have bounds= declared for its columns.",
                line=one.at.line,
                column=one.at.column,
            ) from None
        except (Unsupported, KeyError):   # refused by its own rule where it is shared
            continue
