"""Key files for encrypted connections, and the decision which clients may connect. No sockets.

A key is 32 bytes, written as 40 characters of Z85 (ZeroMQ RFC 32), alone in a file. `helios-bridge keys new` makes

    keys/server.secret  keys/server.public    the service: `serve --curve keys`
    keys/clients/NAME.public                  who may connect; read anew at each connection: delete one to lock it out
    keys/NAME/                                hand this folder to the client: client.secret client.public server.public
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.errors import ConfigError

ZAP_DOMAIN: Final = b"helios-bridge"
_KEY: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_RESERVED: Final = ("clients", "server")
_MOST_CLIENTS: Final = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKeys:
    """The service's secret, and the folder of the clients that it takes."""

    secret: str
    clients: Path

    def allows(self, key: bytes) -> bool:
        """Whether a client with this public key (32 bytes) may connect. The folder is read anew: keys come and go."""
        allowed = set()
        for path in sorted(self.clients.glob("*.public"))[:_MOST_CLIENTS]:
            try:
                allowed.add(_bytes_of(read_key(path)))
            except (ConfigError, OSError) as exc:
                log.warning("curve.unreadable file=%s reason=%s", path, exc)
        return key in allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKeys:
    """A client's pair, and the public key of the one server that it will speak to."""

    public: str
    secret: str
    server: str


def load_server_keys(folder: Path) -> ServerKeys:
    """Raises: ConfigError: the folder does not hold what `helios-bridge keys new` makes."""
    clients = folder / "clients"
    if not clients.is_dir():
        raise ConfigError(f"curve: no folder {clients}; make one with helios-bridge keys new {folder}")
    return ServerKeys(secret=read_key(folder / "server.secret"), clients=clients)


def load_client_keys(folder: Path) -> ClientKeys:
    """Raises: ConfigError: the folder is not one that `helios-bridge keys new --client NAME` makes."""
    return ClientKeys(
        public=read_key(folder / "client.public"),
        secret=read_key(folder / "client.secret"),
        server=read_key(folder / "server.public"),
    )


def read_key(path: Path) -> str:
    """A key from its file. Raises: ConfigError: it is not there, or not a key."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"curve: cannot read {path}: {exc}; keys are made by helios-bridge keys new") from exc
    if not _KEY.fullmatch(text):
        raise ConfigError(f"curve: {path} holds {len(text)} characters that are no key, expected 40 of Z85")
    return text


def new_keys(folder: Path, clients: Sequence[str], new_pair: Callable[[], tuple[str, str]]) -> list[Path]:
    """Makes the service's keys where there are none, and a folder for each new client.

    new_pair: makes a public and a secret key. Returns: the folders to hand over. Raises: ConfigError: a name is not
    usable, or taken; nothing is written over.
    """
    for name in clients:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(f"--client: got {name!r}, expected letters, digits, _ and -, and none of {_RESERVED}")
        if (folder / name).exists() or (folder / "clients" / f"{name}.public").exists():
            raise ConfigError(f"--client: {name} has keys in {folder} already; delete them first to make new ones")
    (folder / "clients").mkdir(parents=True, exist_ok=True)
    if not (folder / "server.secret").exists():
        public, secret = new_pair()
        _write(folder / "server.secret", secret, 0o600)
        _write(folder / "server.public", public, 0o644)
    server = read_key(folder / "server.public")
    made = []
    for name in clients:
        public, secret = new_pair()
        own = folder / name
        own.mkdir(mode=0o700)
        _write(own / "client.secret", secret, 0o600)
        _write(own / "client.public", public, 0o644)
        _write(own / "server.public", server, 0o644)
        _write(folder / "clients" / f"{name}.public", public, 0o644)
        made.append(own)
    return made


def zap_reply(request: Sequence[bytes], allows: Callable[[bytes], bool]) -> list[bytes] | None:
    """The answer to a ZAP request (ZeroMQ RFC 27): 200 for a CURVE key that `allows`, else 400.

    request: version, request id, domain, address, identity, mechanism, credentials. Returns: None when it is none.
    """
    if len(request) < 6 or request[0] != b"1.0":
        return None
    _, request_id, domain, address, _, mechanism, *credentials = request
    known = (
        domain == ZAP_DOMAIN
        and mechanism == b"CURVE"
        and len(credentials) == 1
        and len(credentials[0]) == 32
        and allows(credentials[0])
    )
    if not known:
        log.warning("curve.refused address=%s mechanism=%r", address.decode(errors="replace"), mechanism[:16])
    status = (b"200", b"OK") if known else (b"400", b"no such client key")
    return [b"1.0", request_id, *status, b"", b""]


def _bytes_of(key: str) -> bytes:
    """Z85 (RFC 32): five characters, base 85, make four bytes."""
    words = (key[at : at + 5] for at in range(0, len(key), 5))
    values = (sum(_Z85.index(char) * 85 ** (4 - place) for place, char in enumerate(word)) for word in words)
    with contextlib.suppress(OverflowError):
        return b"".join(value.to_bytes(4, "big") for value in values)
    raise ConfigError(f"curve: {key!r} is no key: a group of five is beyond 2^32")


def _write(path: Path, key: str, mode: int) -> None:
    """Creates the file with its permissions, never wider for a moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as file:
        file.write(f"{key}\n")
