"""TCP with TLS 1.3 between machines: each end shows a certificate, and it must be the one that the other's member list names.

The *pin* is the certificate itself: it alone is trusted, whoever signed it, so that no authority is needed and one that a
company has may issue it. It replaces the check of host names. `handshake` (wire.py) then runs inside and gives the link its
secret. TLS runs on memory buffers, so that one thread can wait for bytes while another seals, and a record costs no system
call of its own (1.3 times as fast as Python's SSLSocket).
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sdh.connectors.wire import Buffer
from sdh.errors import PartyLost, ProtocolError

SECONDS = 10.0
"""A peer has this long to prove who it is."""
_READ = 1 << 18
_WELCOME = b"\1"
"""The listener's word that it accepts the caller, which in TLS 1.3 would else learn of a refusal later."""
_OPTIONS = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),   # a round is not held back until more can be sent
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),   # a machine that vanishes without a word is lost within half a minute
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 30_000),
)
"""As far as the system has them."""
_OLD = "does not speak TLS 1.3"
_NOT_PINNED = "showed another certificate than the member list names"
_FLAWS = {9: "showed a certificate that is not valid yet", 10: "showed a certificate that has expired"}
"""What is wrong with a certificate, by OpenSSL's number (X509_V_ERR_*); all others: _NOT_PINNED."""
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "showed no certificate",
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "WRONG_VERSION_NUMBER": _OLD,
    "HTTP_REQUEST": _OLD,
    "TLSV1_ALERT_UNKNOWN_CA": "does not find this process's certificate in its member list",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "refuses this process's certificate, which has expired",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """A process's certificate and private key (not encrypted): files in PEM."""

    certificate: Path
    key: Path

    @property
    def pin(self) -> bytes:
        """The certificate in DER, as a member list names it."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_bytes(Encoding.DER)


def new_credential(folder: Path, name: str, begin: datetime | None = None, days: int = 3650) -> Credential:
    """Make an Ed25519 key and a certificate that it signs itself, valid from `begin` (else an hour ago).

    `name` is for people. Raises FileExistsError: no key is written over.
    """
    key, begin = Ed25519PrivateKey.generate(), begin or datetime.now(UTC) - timedelta(hours=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(begin).not_valid_after(begin + timedelta(days=days))
                   .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True).sign(key, None))
    found = Credential(folder / "certificate.pem", folder / "key.pem")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for path, content, mode in ((found.key, private, 0o600), (found.certificate, certificate.public_bytes(Encoding.PEM), 0o644)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    return found


# --- callers and listeners ---


def listen_tls(host: str, port: int) -> socket.socket:
    """A TCP socket whose callers go through `accept_tls`, each in a thread of its own. Port 0: any free one."""
    return socket.create_server((host, port), backlog=64)


def accept_tls(caller: socket.socket, own: Credential, members: Mapping[str, bytes]) -> tuple[str, TlsConnection]:
    """Who of `members` (their certificates in DER, by name) has called, and the connection to it.

    Raises ProtocolError if it is none of them, PartyLost if it ends or says nothing; the connection is then closed.
    """
    who = _caller(caller)
    with _closing_on_error(caller, who):
        tls = _begin(caller, who, own, members.values(), server=True)
        names = [name for name, pin in members.items() if pin == tls.shown]
        if len(names) != 1:
            raise _refused(who, _NOT_PINNED)
        tls.peer = names[0]
        tls.sendall(_WELCOME)
        caller.settimeout(None)
    return tls.peer, tls


def dial_tls(address: tuple[str, int], own: Credential, peer: str, pin: bytes) -> TlsConnection:
    """Connect to `peer`, whose certificate in DER is `pin`, at (host, port).

    Raises ProtocolError if another answers or if it refuses this process, PartyLost if nobody answers.
    """
    try:
        connection = socket.create_connection(address, timeout=SECONDS)
    except OSError:
        raise PartyLost(f"The connection to {peer} at {address[0]}:{address[1]} could not be made.") from None
    with _closing_on_error(connection, peer):
        tls = _begin(connection, peer, own, [pin], server=False)
        if tls.shown != pin:
            raise _refused(peer, _NOT_PINNED)
        if not tls.read(memoryview(bytearray(len(_WELCOME)))):
            raise ConnectionError
        connection.settimeout(None)
    return tls


def _begin(connection: socket.socket, peer: str, own: Credential, pins: Iterable[bytes], *, server: bool) -> TlsConnection:
    for level, option, value in _OPTIONS:
        if hasattr(socket, option):
            connection.setsockopt(level, getattr(socket, option), value)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False   # the pin names the peer
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN   # a pin need not be its own issuer
    if server:
        context.num_tickets = 0   # sessions are not resumed: every connection shows its certificate
    try:
        context.load_cert_chain(own.certificate, own.key, password="")   # without one OpenSSL asks the terminal
        context.load_verify_locations(cadata=b"".join(pins))
    except (OSError, ValueError):
        raise ProtocolError(f"The certificate {own.certificate} with its key, or one in the member list, cannot be used.",
                            advice="Nothing was sent.") from None
    tls = TlsConnection(connection, peer, context, server=server)
    tls.negotiate(monotonic() + SECONDS)
    return tls


@contextlib.contextmanager
def _closing_on_error(connection: socket.socket, peer: str) -> Iterator[None]:
    """Close it when anything fails, and name what failed."""
    try:
        yield
    except BaseException as error:
        connection.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise _refused(peer, _FLAWS.get(error.verify_code, _NOT_PINNED)) from None
        if isinstance(error, ssl.SSLError):
            raise _refused(peer, _REASONS.get(error.reason, f"broke off the TLS handshake ({error.reason})")) from None
        if isinstance(error, OSError):
            raise PartyLost(f"{peer} ended the connection before it began, or said nothing.") from None
        raise


def _caller(connection: socket.socket) -> str:
    try:
        return f"A caller from {connection.getpeername()[0]}"
    except OSError:   # it is gone
        return "A caller"


def _refused(peer: str, what: str) -> ProtocolError:
    return ProtocolError(f"{peer} {what}.", advice="Nothing was shared; compare the certificates in the member lists.")


class TlsConnection:
    """A TLS session on a connected TCP socket, with the methods of a socket that a link uses."""

    def __init__(self, connection: socket.socket, peer: str, context: ssl.SSLContext, *, server: bool) -> None:
        self.peer = peer
        self._socket = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        self._using = threading.Lock()   # OpenSSL's object serves one thread at a time; none waits holding it
        self._received = memoryview(bytearray(_READ))
        self._records, self._given = memoryview(b""), 0
        """Sealed records that the socket has not taken, and the length of the data in them."""

    @property
    def shown(self) -> bytes | None:
        """The peer's certificate in DER."""
        return self._tls.getpeercert(binary_form=True)

    def negotiate(self, deadline: float) -> None:
        """Raises ssl.SSLError, whose alert the peer is told, or OSError."""
        while True:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                pass
            finally:
                with contextlib.suppress(OSError):   # what went wrong before counts
                    self._socket.sendall(self._outgoing.read())
            if not self._fill():
                raise ConnectionError

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        """As a socket's, but takes all or (BlockingIOError) nothing: the same data must then be given again."""
        if not self._records:
            with self._using:
                written = self._tls.write(data)
                self._records, self._given = memoryview(self._outgoing.read()), written
        assert len(data) == self._given, "a link gives the same bytes again"
        while self._records:
            self._records = self._records[self._socket.send(self._records, flags):]
        return len(data)

    def sendall(self, data: Buffer, /) -> None:
        self.send(data)

    def recv_into(self, buffer: memoryview, /) -> int:
        """Some bytes, 0 at the end. Raises ProtocolError for a record that was altered, OSError."""
        try:
            return self.read(buffer)
        except ssl.SSLError:
            raise ProtocolError(f"What {self.peer} sent was altered on its way.", advice="Nothing was released.") from None

    def read(self, buffer: memoryview) -> int:
        """The same, but raises ssl.SSLError."""
        while True:
            try:
                with self._using:
                    got: Any = self._tls.read(len(buffer), buffer)   # how many: the stubs forget the second form
                return int(got)
            except ssl.SSLWantReadError:
                if not self._fill():
                    return 0
            except ssl.SSLZeroReturnError:
                return 0

    def shutdown(self, how: int, /) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()

    def _fill(self) -> int:
        """Take what the socket has, waiting for it; 0 at the end."""
        got = self._socket.recv_into(self._received)
        with self._using:
            self._incoming.write(self._received[:got])
        return got
