"""Every error that SDH raises, one class per fault, under the one whose fault it is.

    SdhError
    ├── QuestionError            the text of the question; `line`, `column` and a caret where there is SQL
    │   ├── ParseError           not SQL
    │   ├── TooLarge             text or nesting beyond the limits
    │   ├── Unsupported          SQL that SDH refuses by name
    │   ├── UnknownTable, UnknownColumn, UnknownFunction    with the nearest names
    │   ├── AmbiguousColumn, NotGrouped
    │   ├── TypeMismatch
    │   ├── ParameterError       a $parameter that is missing, unused or of no SQL type
    │   └── WidthError           a value might not fit 63 bits on shares
    ├── PolicyError              what an owner did not grant
    │   ├── NotGranted
    │   ├── FloorUnsupported
    │   ├── BudgetSpent          an owner's budget of epsilon and delta does not cover the question
    │   └── LedgerBehind         an owner's ledger is not the one that the others have seen last
    ├── StoreError               an owner's store or what its owner declared
    │   ├── MissingStore, CorruptStore, LockedStore, UnsupportedStore
    │   ├── CorruptLedger        a file that is no ledger, another's, or was changed
    │   ├── NameTaken            two parties, or a party and a public table, of one name
    │   ├── UnknownParty
    │   ├── BoundsViolated, KeyViolated, UnknownDeclaration
    │   └── StaleFact            the snapshot no longer meets a published fact
    ├── DataError                a failure that depends on the data: operator and party, never a value
    └── RuntimeFault             the run
        ├── PartyLost, DealerLost
        ├── HubBusy, HubClosed
        ├── DeadlinePassed, Cancelled
        ├── PreparedSpent        a prepared query that ran already or was closed
        ├── MemoryExceeded       a process would need, or needed, more memory than its limit
        ├── DiskFull             no room for what would be dealt ahead
        ├── DeviceMissing        a node was told to compute on what its machine has not
        ├── PlanMismatch         two nodes did not plan the same
        ├── ProtocolError        a frame of another address, length or key than planned
        ├── Aborted              another node failed; its error is the one to read
        └── InternalError        a fault of SDH itself

Standard library only.
"""

from __future__ import annotations

from typing import Any


class SdhError(Exception):
    """One sentence that says what is wrong, and `advice`: what to do next.

    `line` and `column` count from 1 and are 0 where no SQL text is concerned.
    """

    def __init__(self, message: str, *, advice: str = "", line: int = 0, column: int = 0, sql: str = "") -> None:
        super().__init__(message)
        self.message, self.advice, self.line, self.column, self.sql = message, advice, line, column, sql

    def __str__(self) -> str:
        text = self.message if not self.advice else f"{self.message} {self.advice}"
        caret = self.caret()
        return f"{text}\n{caret}" if caret else text

    def caret(self) -> str:
        """The line of the SQL text at fault with a caret under the column, or '' without a position."""
        lines = self.sql.splitlines()
        if not 0 < self.line <= len(lines):
            return ""
        text, column = lines[self.line - 1].replace("\t", " "), max(self.column, 1)
        start = max(0, column - 70)
        return f"  {text[start:start + 100]}\n  {' ' * (column - 1 - start)}^"

    def to_message(self) -> dict[str, Any]:
        """The error as JSON values, for the wire."""
        return {"class": type(self).__name__, "message": self.message, "advice": self.advice,
                "line": self.line, "column": self.column}


class QuestionError(SdhError):
    """The text of the question is at fault."""


class ParseError(QuestionError):
    """The text is not SQL."""


class TooLarge(QuestionError):
    """The text is longer, or nested deeper, than SDH accepts."""


class Unsupported(QuestionError):
    """SQL that SDH does not run, refused by its name and position."""


class UnknownTable(QuestionError):
    """No such table; the message gives the nearest names."""


class UnknownColumn(QuestionError):
    """No such column; the message gives the nearest names."""


class UnknownFunction(QuestionError):
    """No such function; the message gives the nearest names."""


class AmbiguousColumn(QuestionError):
    """A column name that several tables have."""


class NotGrouped(QuestionError):
    """A column that is neither grouped nor aggregated, or an aggregate where none may stand."""


class TypeMismatch(QuestionError):
    """An operator or function is applied to types it is not defined for, or a literal does not fit its type."""


class ParameterError(QuestionError):
    """A $parameter is missing, unused or has no SQL type."""


class WidthError(QuestionError):
    """The facts do not prove that a value on shares fits 63 bits."""


class PolicyError(SdhError):
    """What an owner did not grant."""


class NotGranted(PolicyError):
    """Names the column, the receiver, the operator and the grant that would make the query legal."""


class FloorUnsupported(PolicyError):
    """A floor of contributors that SDH cannot yet count for this query."""


class BudgetSpent(PolicyError):
    """An owner's budget of epsilon and delta does not cover the question."""


class LedgerBehind(PolicyError):
    """An owner's ledger is not the one that the other owners have seen last."""


class StoreError(SdhError):
    """An owner's store, or what its owner declared about it, is at fault."""


class MissingStore(StoreError):
    """There is no such file, folder or table."""


class CorruptStore(StoreError):
    """A file cannot be read as what its name says."""


class CorruptLedger(StoreError):
    """A file that is no ledger, another owner's, or was changed."""


class LockedStore(StoreError):
    """Another process has the database open for writing."""


class UnsupportedStore(StoreError):
    """Not a kind of store that SDH reads."""


class NameTaken(StoreError):
    """The name of a party or public table is in use."""


class UnknownParty(StoreError):
    """No party of that name is attached."""


class BoundsViolated(StoreError):
    """A value lies outside the bounds its owner declared (the value is not told)."""


class KeyViolated(StoreError):
    """A declared key is not unique, or repeats more often than declared."""


class UnknownDeclaration(StoreError):
    """keys=, bounds=, repeats= or a grant names a table or column that is not there."""


class StaleFact(StoreError):
    """The snapshot no longer meets a published fact."""


class DataError(SdhError):
    """A failure that depends on the data. It tells the operator and the party, never a value."""


class RuntimeFault(SdhError):
    """The run failed; the question and the data may be fine."""


class PartyLost(RuntimeFault):
    """A party's node ended."""


class DealerLost(RuntimeFault):
    """The dealer's process ended."""


class HubBusy(RuntimeFault):
    """A query is already running on this hub."""


class HubClosed(RuntimeFault):
    """The hub was closed."""


class DeadlinePassed(RuntimeFault):
    """The query's timeout passed."""


class Cancelled(RuntimeFault):
    """The client cancelled the query."""


class PreparedSpent(RuntimeFault):
    """A prepared query runs once, and not after it was closed."""


class MemoryExceeded(RuntimeFault):
    """A process would need, or needed, more memory than its limit; nothing was released."""


class DiskFull(RuntimeFault):
    """A disk has no room for what a process would write."""


class DeviceMissing(RuntimeFault):
    """The device that a node was told to compute on is not there, or what it needs is not installed."""


class PlanMismatch(RuntimeFault):
    """Two nodes did not plan the same; nothing was shared."""


class ProtocolError(RuntimeFault):
    """A frame had another address, length or key than planned."""


class Aborted(RuntimeFault):
    """Another node failed; its error is the one to read."""


class InternalError(RuntimeFault):
    """A fault of SDH itself."""


class NoiseDrowns(UserWarning):
    """The noise of a differentially private answer is greater than most of its values. Nothing is wrong with the answer."""


def memory_exceeded(name: str, during: str = "") -> MemoryExceeded:
    """A process had no memory left `during` something."""
    return MemoryExceeded(f"The memory limit was met at {name}{f' during {during}' if during else ''}.",
                          advice="Nothing was released. Ask for less, or give more with memory_limit=.")


def _classes(root: type[SdhError]) -> dict[str, type[SdhError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _classes(child)
    return found


CLASSES = _classes(SdhError)


def from_message(message: dict[str, Any]) -> SdhError:
    """The error that `to_message` wrote. An unknown class becomes InternalError."""
    kind = CLASSES.get(str(message.get("class")), InternalError)
    return kind(str(message.get("message", "")), advice=str(message.get("advice", "")),
                line=int(message.get("line", 0)), column=int(message.get("column", 0)))
