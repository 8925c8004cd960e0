"""Bearer tokens: a file of `role:name:token` lines, and who a token belongs to."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.shared.trust.roles import PEOPLE, Role
from services.shared.trust.tls_files import LOOK_EVERY_S, EventLog

LEAST_TOKEN_CHARACTERS: Final = 20
"""Shorter ones could be guessed; 20 random letters and digits are over 100 bits."""

MOST_TOKENS: Final = 1_000
"""Every call compares with every line."""

SHA256_PREFIX: Final = "sha256="

NAME_RULE: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class TokensBad(Exception):
    """The token file cannot be used; the text names the file, the line, and the rule. Never a token."""


@dataclass(frozen=True, slots=True)
class TokenOwner:
    role: Role
    name: str


Tokens = tuple[tuple[bytes, TokenOwner], ...]
"""SHA-256 of each token, and whose it is."""


def parse_tokens(text: str, source: str) -> Tokens:
    """Read the lines `role:name:TOKEN` and `role:name:sha256=HEX`; empty ones and `#` are skipped. Raises TokensBad."""
    found: list[tuple[bytes, TokenOwner]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            found.append(_entry(line.strip(), f"{source}, line {number}"))
    if not found:
        raise TokensBad(f"{source}: has no token; a line is role:name:token")
    if len(found) > MOST_TOKENS:
        raise TokensBad(f"{source}: has {len(found)} tokens, {MOST_TOKENS} at most are taken")
    if len({digest for digest, _ in found}) != len(found):
        raise TokensBad(f"{source}: has one token twice; everyone needs their own")
    return tuple(found)


def _entry(line: str, place: str) -> tuple[bytes, TokenOwner]:
    parts = line.split(":", 2)
    if len(parts) != 3:
        raise TokensBad(f"{place}: not role:name:token")
    role, name, token = parts
    if role not in PEOPLE:
        raise TokensBad(f"{place}: the role {role!r} is none of {', '.join(PEOPLE)}; services have certificates")
    if NAME_RULE.fullmatch(name) is None:
        raise TokensBad(f"{place}: the name {name!r} is not 1 to 64 letters, digits or ._@-")
    if token.startswith(SHA256_PREFIX):
        digits = token.removeprefix(SHA256_PREFIX)
        if re.fullmatch(r"[0-9a-fA-F]{64}", digits) is None:
            raise TokensBad(f"{place}: {SHA256_PREFIX} needs the 64 hex digits of the token's SHA-256")
        return bytes.fromhex(digits), TokenOwner(Role(role), name)
    if len(token) < LEAST_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise TokensBad(f"{place}: a token is {LEAST_TOKEN_CHARACTERS} or more printable ASCII characters, no spaces")
    return digest_of(token), TokenOwner(Role(role), name)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def owner_of(tokens: Tokens, token: str) -> TokenOwner | None:
    """Compares with every entry, in a time that tells nothing of where they differ."""
    given, owner = digest_of(token), None
    for digest, candidate in tokens:
        if hmac.compare_digest(digest, given):
            owner = candidate
    return owner


class TokenFile:
    """The newest content of a token file that obeys the rules. Used from one event loop or several threads."""

    def __init__(self, path: Path, log: EventLog | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises TokensBad."""
        self._path, self._log, self._clock = path, log, clock
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._tokens = self._read()
        self._look_at = clock() + LOOK_EVERY_S

    def owner(self, token: str) -> TokenOwner | None:
        with self._lock:
            now = self._clock()
            if now >= self._look_at:
                self._look_at = now + LOOK_EVERY_S
                self._look()
            tokens = self._tokens
        return owner_of(tokens, token)

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._tokens = self._read()
        except TokensBad as problem:
            if self._log is not None:
                self._log.warning("token file not taken, the tokens before stay in use", why=str(problem))
        else:
            if self._log is not None:
                self._log.info("token file read again", tokens=len(self._tokens))

    def _read(self) -> Tokens:
        try:
            return parse_tokens(self._path.read_text(encoding="utf-8"), str(self._path))
        except OSError as problem:
            raise TokensBad(f"{self._path}: cannot be read: {problem.strerror or problem}") from problem
        except UnicodeDecodeError as problem:
            raise TokensBad(f"{self._path}: not text") from problem

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
