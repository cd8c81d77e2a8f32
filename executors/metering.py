"""What a session counts: bytes sent, rounds, dealer's bytes and seconds by operator."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdh.executors.correlations import Correlation


@dataclass(slots=True)
class Cost:
    """What one operator cost this party; `dealt` is the dealer's bytes to all parties."""

    sent: int = 0
    rounds: int = 0
    dealt: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Meter:
    """Costs by operator label, in the order of first use. a/b is within a: its seconds are within a's, its counts beside."""

    operators: dict[str, Cost] = field(default_factory=dict)

    def at(self, label: str) -> Cost:
        return self.operators.setdefault(label, Cost())

    @property
    def whole(self) -> dict[str, Cost]:
        """Costs of outermost operators, with all that is within them."""
        found: dict[str, Cost] = {}
        for label, cost in self.operators.items():
            outer, _, inner = label.partition("/")
            one = found.setdefault(outer, Cost())
            one.sent, one.rounds, one.dealt = one.sent + cost.sent, one.rounds + cost.rounds, one.dealt + cost.dealt
            one.seconds += 0 if inner else cost.seconds
        return found

    @property
    def total(self) -> Cost:
        costs = self.whole.values()
        return Cost(sum(c.sent for c in costs), sum(c.rounds for c in costs), sum(c.dealt for c in costs),
                    sum(c.seconds for c in costs))


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did, for the meter and for a trace to do again."""

    sent: int = 0
    rounds: int = 0
    group: tuple[Correlation, ...] = ()
    label: str = ""
    """The operator it belongs to, below the one in which the trace began to record."""
