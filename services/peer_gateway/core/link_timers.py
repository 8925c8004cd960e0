"""When a connection is over for silence, and when it asks for a sign of life."""

from __future__ import annotations

from services.peer_gateway.core.connection_config import ConnectionConfig


class LinkTimers:
    """The read deadline and the next Ping of one connection. Time in which we do not read is not the peer's."""

    def __init__(self, config: ConnectionConfig, now: float) -> None:
        self._config = config
        self._deadline = now + config.handshake_timeout_s
        self._next_ping: float | None = None
        self._unread_since: float | None = None

    def start_pings(self, now: float) -> None:
        self._next_ping = now + self._config.ping_interval_s

    def on_frame(self, now: float) -> None:
        """A frame is complete: the next one has its own time."""
        self._deadline = now + self._config.frame_timeout_s
        if self._unread_since is not None:
            self._unread_since = now

    def on_paused(self, now: float) -> None:
        """From here on the socket is not read."""
        if self._unread_since is None:
            self._unread_since = now

    def on_resumed(self, now: float) -> None:
        """The socket is read again."""
        if self._unread_since is not None:
            self._deadline += now - self._unread_since
            self._unread_since = None

    def next_wakeup(self) -> float | None:
        """Earliest time that something is due; None when there is nothing to wait for."""
        due = [self._next_ping, self._deadline if self._unread_since is None else None]
        return min((at for at in due if at is not None), default=None)

    def is_silent(self, now: float) -> bool:
        """Whether nothing complete came in time."""
        return self._unread_since is None and now >= self._deadline

    def take_ping(self, now: float) -> bool:
        """Whether a Ping is due; the next one then is an interval away."""
        if self._next_ping is None or now < self._next_ping:
            return False
        self.start_pings(now)
        return True
