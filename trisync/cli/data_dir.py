"""What stands where in a data directory, and who may use it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, Self

from trisync.cli.failures import CommandFailed

UNIX_PATH_LIMIT: Final = 100
"""Longest path of a unix socket in bytes that every kernel takes."""

LOCK_PATIENCE_S: Final = 6.0
"""How long services of a killed `up` may take to end before the data directory counts as in use."""

LOCK_CHECK_S: Final = 0.1


class DataDir:
    """`<datadir>/run` holds ready files and sockets, `<datadir>/logs` the logs, the services own the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.run_dir = self.path / "run"
        self.logs_dir = self.path / "logs"

    def prepare(self) -> None:
        """Make the directories and see that they can be written. Raises CommandFailed."""
        try:
            for directory in (self.path, self.run_dir, self.logs_dir):
                directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.run_dir):
                pass
        except FileExistsError as problem:
            raise self._unusable(f"{problem.filename} is a file, and has to be a directory") from problem
        except OSError as problem:
            raise self._unusable(_reason(problem)) from problem

    def _unusable(self, reason: str) -> CommandFailed:
        return CommandFailed(f"--datadir {self.path} cannot be used: {reason}")

    def sockets_dir(self) -> Path:
        """The run directory, or a private directory of a short name when that is too long for a unix socket."""
        if len(os.fsencode(self.run_dir / "coordinator.sock")) <= UNIX_PATH_LIMIT:
            return self.run_dir
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        directory = Path(tempfile.gettempdir()) / f"trisync-{os.getuid()}-{name}"
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
        if directory.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise CommandFailed(f"{directory} is not a private directory of ours; remove it or set TMPDIR")
        return directory

    def remove_sockets_dir(self) -> None:
        """Remove the directory of the short name, if there is one. Caller's duty: the services ended."""
        directory = self.sockets_dir()
        if directory != self.run_dir:
            shutil.rmtree(directory, ignore_errors=True)

    def coordinator_address(self) -> str:
        """Where the coordinator of this data directory says it listens. Raises CommandFailed."""
        path = self.run_dir / "coordinator.json"
        try:
            return str(json.loads(path.read_text())["grpc"][0])
        except (FileNotFoundError, NotADirectoryError):
            raise CommandFailed(
                f"no coordinator runs on {self.path} (there is no {path}); start `trisync up` there, or name another "
                "--datadir or a --coordinator"
            ) from None
        except OSError as problem:
            raise CommandFailed(f"{path} cannot be read: {_reason(problem)}") from problem
        except (ValueError, LookupError, TypeError) as problem:
            raise CommandFailed(f"{path} does not tell the coordinator's address: {problem}") from problem


class DataDirLock:
    """Held by `up` and inherited by its services, so that it is free only once all of them ended."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    async def acquire(cls, data_dir: DataDir) -> Self:
        """Wait a little for services that are stopping. Raises CommandFailed."""
        path = data_dir.run_dir / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise CommandFailed(f"{path} cannot be written: {_reason(problem)}") from problem
        deadline = asyncio.get_running_loop().time() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            if asyncio.get_running_loop().time() >= deadline or _lives(owner):
                os.close(descriptor)
                whose = f"--datadir {data_dir.path} is in use by another trisync (process {owner})"
                raise CommandFailed(f"{whose}; stop that one first, or name another --datadir")
            await asyncio.sleep(LOCK_CHECK_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        os.close(self.descriptor)


def _reason(problem: OSError) -> str:
    return (problem.strerror or str(problem)).lower()


def _lives(owner: str) -> bool:
    """Whether the `up` that wrote its number still runs; if not, only its services hold the lock."""
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
