"""A node whose work on clear data takes long at the party `slow`: fragments, encoding, and what is prepared for the run."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import Any

import sdh.node
from sdh.serving import begin

SLOW, SECONDS = "slow", 0.7


def slowly(work: Callable[..., Any]) -> Callable[..., Any]:
    def waits(*arguments: Any, **named: Any) -> Any:
        sleep(SECONDS)
        return work(*arguments, **named)

    return waits


def main() -> None:
    """The node as it is, with the work on clear data wrapped as soon as it is loaded."""
    node: Any = sdh.node
    load, names = node.load_runtime, list[str]()

    def load_and_wrap(threads: int) -> None:
        from sdh.executors import local, secure

        load(threads)
        if names == [SLOW]:
            clear: list[tuple[Any, str]] = [(local, "run_fragment"), (secure, "encode"), (secure, "prepare")]
            for module, name in clear:
                setattr(module, name, slowly(getattr(module, name)))

    def begin_and_name() -> Any:
        started = begin()
        names.append(started[0].name)
        return started

    node.load_runtime, node.begin = load_and_wrap, begin_and_name
    node.main()


if __name__ == "__main__":
    main()
