"""A node whose joint noise has a scale a tenth too small: what an audit has to catch. All owners have it, so no plan differs."""

from __future__ import annotations

from fractions import Fraction
from unittest.mock import patch

import sdh.node
from sdh.planners import mechanisms

SHRUNK = Fraction(9, 10)


def main() -> None:
    load, bias = sdh.node.load_runtime, mechanisms.bias

    def load_and_shrink(threads: int) -> None:
        load(threads)
        from sdh.executors import noising

        patch.object(noising, "bias", lambda scale, bit: bias(scale * SHRUNK, bit)).start()

    patch.object(sdh.node, "load_runtime", load_and_shrink).start()
    sdh.node.main()


if __name__ == "__main__":
    main()
