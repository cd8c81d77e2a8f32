"""SDH, the Secure Data Hub: one SQL question over the data of several owners; every row stays with its owner.

    import sdh
    with sdh.connect(client="analyst") as hub:
        hub.attach("bank", "bank.duckdb", policy=sdh.Policy.open())
        hub.attach("shop", {"orders": orders})
        print(hub.sql("SELECT ...").df())

Importing this loads the standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdh import errors as errors
    from sdh.audit import Reveal as Reveal
    from sdh.errors import SdhError as SdhError
    from sdh.hub import Hub as Hub
    from sdh.hub import connect as connect
    from sdh.policy import Policy as Policy
    from sdh.privacy import DP as DP
    from sdh.privacy import PrivacyPolicy as PrivacyPolicy
    from sdh.result import Result as Result

__version__ = "0.1.0"
__all__ = ["DP", "Hub", "Policy", "PrivacyPolicy", "Result", "Reveal", "SdhError", "connect", "errors"]

_HOMES = {"Hub": "sdh.hub", "connect": "sdh.hub", "Policy": "sdh.policy", "DP": "sdh.privacy",
          "PrivacyPolicy": "sdh.privacy", "Result": "sdh.result", "Reveal": "sdh.audit"}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for; the classes of errors.py are here too."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    errors = import_module("sdh.errors")
    if name == "errors":
        return errors
    if name in errors.CLASSES:
        return errors.CLASSES[name]
    raise AttributeError(f"module 'sdh' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
