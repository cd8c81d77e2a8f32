"""What a hub has: its parties with their processes, the dealer, the public tables. Dead processes are started again.

All that must end with the hub is here, and nothing here knows the hub, so that its finalizer can end it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sdh.catalog import Catalog, Federated, Party, check_federated, party_from_message
from sdh.config import Limits, Programs, Share, share_of_machine
from sdh.connectors.wire import Identity
from sdh.errors import HubClosed, UnknownParty
from sdh.exchange import Exchange, perform
from sdh.processes import Event, Events, Process, launch, private_folder
from sdh.public import Public
from sdh.session import DEALER, Member

PROCESSES = 3
"""Two parties and a dealer share the machine, as a rule."""


@dataclass(slots=True)
class Attached:
    """A party: what to tell its node when it is started again, and what the node published."""

    process: Process
    folder: Path
    request: dict[str, Any]
    party: Party


@dataclass(slots=True)
class Members:
    identity: Identity
    programs: Programs
    limits: Limits
    memory: int | None
    """Bytes that each process may use, if the user said so."""
    root: Path = field(default_factory=private_folder)
    owner: int = field(default_factory=os.getpid)
    events: Events = field(default_factory=lambda: SimpleQueue[Event]())
    parties: dict[str, Attached] = field(default_factory=dict)
    public: dict[str, Public] = field(default_factory=dict)
    federated: dict[str, Federated] = field(default_factory=dict)
    closed: bool = False
    _dealer: Process | None = None
    _running: list[Process] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    @property
    def share(self) -> Share:
        """What the next process may use: earlier ones keep what they have."""
        return share_of_machine(max(PROCESSES, len(self._running) + 1), self.memory)

    @property
    def catalog(self) -> Catalog:
        return Catalog(tuple(attached.party for attached in self.parties.values()),
                       tuple(public.facts for public in self.public.values()), tuple(self.federated.values()))

    def launch_node(self, name: str) -> Process:
        return self._launch(self.programs.node, name)

    def launch_dealer(self) -> None:
        self._dealer = self._launch(self.programs.dealer, DEALER)

    def dealer(self) -> Process:
        """The dealer, answering. Raises DealerLost when it does not start."""
        if self._dealer is None or not self._dealer.alive:
            if self._dealer is not None:
                self.end(self._dealer)
            self.launch_dealer()
        assert self._dealer is not None
        return self._answering(self._dealer)

    def folder(self) -> Path:
        """A new private folder."""
        folder = self.root / f"d{next(self._numbers)}"
        folder.mkdir(mode=0o700)
        return folder

    def attach(self, name: str, process: Process, folder: Path, request: dict[str, Any]) -> None:
        """Have a launched node open its store, and keep it under `name`. Raises StoreError, PartyLost."""
        party = self._introduce(process, request)
        self.parties[name] = Attached(process, folder, request, party)

    def federate(self, table: Federated) -> None:
        """Raises NameTaken, UnknownTable, UnknownColumn, TypeMismatch, UnknownDeclaration."""
        known = self.catalog
        check_federated(Catalog(known.parties, known.public, (*known.federated, table)))
        self.federated[table.name] = table

    def detach(self, name: str) -> None:
        """The federated tables with a part there go too. Raises UnknownParty."""
        if name not in self.parties:
            known = ", ".join(self.parties) or "none"
            raise UnknownParty(f"No party {name!r} is attached.", advice=f"Attached: {known}.")
        attached = self.parties.pop(name)
        gone = f"{name.lower()}."
        self.federated = {key: table for key, table in self.federated.items()
                          if not any(part.lower().startswith(gone) for part in table.parts)}
        self.discard(attached.process, attached.folder)

    def publish(self, public: Public) -> None:
        """Give every node a public table. Raises PlanMismatch when one measures it otherwise, PartyLost."""
        for name in self.parties:
            self.request(self.process(name), {"do": "publish"} | public.to_message())
        self.public[public.facts.name] = public

    def process(self, name: str) -> Process:
        """A party's node, started again if it is gone. Raises PartyLost, StoreError."""
        attached = self.parties[name]
        if not attached.process.alive:
            self.end(attached.process)
            attached.process = self.launch_node(name)
            attached.party = self._introduce(attached.process, attached.request)
        return attached.process

    def request(self, process: Process, message: dict[str, Any]) -> Event:
        """One request to one process, however long it takes. Raises what it raises there."""
        exchange = Exchange([process], self.events)
        perform(exchange, [(process, message)], None, self.limits.stop)
        return exchange.answers[process]

    def discard(self, process: Process, folder: Path) -> None:
        """End a party's node and remove what was written for it."""
        self.end(process)
        shutil.rmtree(folder, ignore_errors=True)

    def end(self, process: Process) -> None:
        """End a process and forget it."""
        process.kill()
        if process in self._running:
            self._running.remove(process)

    def close(self) -> None:
        """End every process and remove every folder; in a forked child of the hub's process, do nothing."""
        if os.getpid() != self.owner:
            return
        self.closed = True
        for process in self._running:
            process.popen.kill()
        for process in list(self._running):
            self.end(process)
        shutil.rmtree(self.root, ignore_errors=True)

    def _introduce(self, process: Process, request: dict[str, Any]) -> Party:
        """Make a new node answer, open its store and take the public tables; end it if it cannot."""
        try:
            answer = self.request(self._answering(process), request).message or {}
            for public in self.public.values():
                self.request(process, {"do": "publish"} | public.to_message())
        except BaseException:
            self.end(process)
            raise
        return party_from_message(answer["party"])

    def _launch(self, module: str, name: str) -> Process:
        process = launch(module, name, self.identity, self.root, next(self._numbers), self.share, self.events)
        self._running.append(process)
        if self.closed:   # by another thread, which did not see this one
            self.end(process)
            raise HubClosed("The hub was closed.")
        return process

    def _answering(self, process: Process) -> Process:
        try:
            process.ready(self.identity, self.limits.start)
        except BaseException:
            self.end(process)
            raise
        return process


def known(process: Process) -> Member:
    """Who an answering process is."""
    assert process.member is not None
    return process.member
