"""
The users of the domain, as their files say at the moment.

C{sipxha user} rewrites the files of a running node; they are looked at every
second, and read again when one has changed, in a thread, so that nobody's
call waits for thousands of users.  Files that cannot be understood change
nothing.  What other nodes send is written to the files as C{sipxha user}
would, and read from there; who sends it and when is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from sipxha.auth.users import Users, Version
from sipxha.config import model, user_set
from sipxha.config.tables import KINDS, finish_change, path_of
from sipxha.config.users import load_users
from sipxha.errors import LocalError

INTERVAL = 1.0

_Stamp = tuple[tuple[int, int, int] | None, ...]

T = TypeVar("T")


class InThread(Protocol):
    """
    Does something elsewhere, where it may take its time.
    """

    def __call__(self, do: Callable[[], T], /) -> Deferred[T]:
        """
        Do it.
        """


class UserFiles(Service):
    """
    Watches the files of users.

    @ivar users: What they said when they were last understood.
    @ivar trouble: Why they cannot be understood now, if so.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: model.Config,
        changed: Callable[[Users], None],
        in_thread: InThread | None = None,
    ) -> None:
        """
        Read the files.

        @param changed: Is given the users each time that they change.

        @raise LocalError: They cannot be understood.
        """
        self._reactor = reactor
        self._config = config
        self._files = config.users
        self._changed = changed
        self._in_thread = in_thread or self._in_pool
        self._rules = _rule_files(config)
        self.trouble: str | None = None
        finish_change(self._files)
        self._read_at = self._stamp()
        self.users, self._agreement = self._read()
        self._reading: Deferred[None] | None = None
        self._again = False
        self._look = LoopingCall(self.look)
        self._look.clock = reactor

    def startService(self) -> None:
        """
        Begin to watch.
        """
        super().startService()
        self._look.start(INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """
        Watch no more.

        @return: Fires when nothing is being read any more.
        """
        super().stopService()
        if self._look.running:
            self._look.stop()
        return succeed(None) if self._reading is None else self._reading

    # -- from the files ----------------------------------------------------

    def look(self) -> None:
        """
        Read the files if one of them has changed.
        """
        if self._reading is None and self._stamp() != self._read_at:
            self.reload()

    @property
    def is_reading(self) -> bool:
        """
        Whether something new may be there in a moment.
        """
        return self._reading is not None

    def reload(self) -> None:
        """
        Read the files, whether they have changed or not.
        """
        if self._reading is not None:
            # What is being read may be what there was before.
            self._again = True
            return
        self._reading = Deferred()
        reading = Deferred.fromCoroutine(self._read_again())
        reading.addErrback(lambda failure: self._log.failure("the users could not be read", failure))
        reading.addCallback(self._read_ended, self._reading)

    def settled(self) -> Deferred[None]:
        """
        @return: Fires when nothing is being read any more.
        """
        if self._reading is None:
            return succeed(None)
        settled: Deferred[None] = Deferred()
        self._reading.addCallback(lambda _: settled.callback(None))
        return settled

    async def _read_again(self) -> None:
        self._read_at = self._stamp()
        try:
            users, agreement = await self._in_thread(self._read)
        except LocalError as error:
            self.trouble = str(error)
            self._log.error("the users stay as they were: {reason}", reason=self.trouble)
            return
        self.trouble = None
        self.users, self._agreement = users, agreement
        self._changed(users)
        self._log.info("the users were read: {count} users", count=len(users))

    def _read(self) -> tuple[Users, dict[str, str]]:
        config = self._config
        users = load_users(self._files, config.domain.name, config.domain.realm)
        own = (config.node.name, config.node.address)
        return users, user_set.agreement(config.secret, users, own, self._rules)

    def _read_ended(self, _: None, reading: Deferred[None]) -> None:
        self._reading = None
        again, self._again = self._again, False
        reading.callback(None)
        if again and self.running:
            self.reload()

    # -- for other nodes ---------------------------------------------------

    @property
    def version(self) -> Version:
        """
        Of the users that are in use; the greater one is to be had.
        """
        return self.users.version

    def digest(self) -> dict[str, str]:
        """
        What must be the same on all nodes, hashed, by name: C{secret},
        C{users}, and each file of rules.
        L{differing<sipxha.config.user_set.differing>} compares two of them.
        """
        return dict(self._agreement)

    def snapshot(self) -> Deferred[bytes]:
        """
        All users, for another node to L{take}: an XML document in UTF-8, as
        secret as the passwords.

        @return: Fails with a L{LocalError} if the files cannot be read.
        """
        return self._in_thread(lambda: user_set.snapshot(self._files))

    def take(self, text: bytes) -> Deferred[bool]:
        """
        Take over another node's L{snapshot} if it is newer than what the files
        hold, and use it.

        @return: Fires with whether it was newer, when it is used; fails with
            L{UsersMalformed<sipxha.config.user_set.UsersMalformed>} or a
            L{LocalError}, and then nothing has changed.
        """
        domain = self._config.domain
        taking = self._in_thread(lambda: user_set.take(self._files, domain.name, domain.realm, text))
        return taking.addCallback(self._taken)

    def _taken(self, is_newer: bool) -> Deferred[bool]:
        if not is_newer:
            return succeed(False)
        self.reload()
        if self._reading is None:
            return succeed(True)
        used: Deferred[bool] = Deferred()
        self._reading.addCallback(lambda _: used.callback(True))
        return used

    def _in_pool(self, do: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), do)

    def _stamp(self) -> _Stamp:
        stamp: list[tuple[int, int, int] | None] = []
        for path in (path_of(self._files, kind) for kind in KINDS):
            try:
                state = path.stat()
            except OSError:
                stamp.append(None)
            else:
                stamp.append((state.st_mtime_ns, state.st_size, state.st_ino))
        return tuple(stamp)


def _rule_files(config: model.Config) -> list[Path]:
    files: list[Path | None] = []
    if config.proxy is not None:
        files.append(config.proxy.forwarding_rules)
    if config.authproxy is not None:
        files += [config.authproxy.auth_rules, config.authproxy.caller_aliases]
    if config.registrar is not None:
        files += [config.registrar.mapping_rules, config.registrar.fallback_rules]
    return [path for path in files if path is not None]
