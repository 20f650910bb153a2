"""
The users of the domain, as their files say at the moment.

C{sipxha user} rewrites the files of a running node; they are looked at every
second, and read again when one has changed.  Files that cannot be understood
change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sipxha.auth.users import Users
from sipxha.config import model
from sipxha.config.users import load_users
from sipxha.errors import LocalError

INTERVAL = 1.0

_Stamp = tuple[tuple[int, int, int] | None, ...]


class UserFiles(Service):
    """
    Watches the files of users.

    @ivar users: What they said when they were last understood.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        files: model.Users,
        domain: model.Domain,
        changed: Callable[[Users], None],
    ) -> None:
        """
        Read the files.

        @param changed: Is given the users each time that they change.

        @raise LocalError: They cannot be understood.
        """
        self._files = files
        self._domain = domain
        self._changed = changed
        self._read_at = self._stamp()
        self.users = load_users(files, domain.name, domain.realm)
        self._look = LoopingCall(self._look_at_files)
        self._look.clock = reactor

    def startService(self) -> None:
        """
        Begin to watch.
        """
        super().startService()
        self._look.start(INTERVAL, now=False)

    def stopService(self) -> None:
        """
        Watch no more.
        """
        super().stopService()
        if self._look.running:
            self._look.stop()

    def reload(self) -> None:
        """
        Read the files, whether they have changed or not.
        """
        self._read_at = self._stamp()
        try:
            users = load_users(self._files, self._domain.name, self._domain.realm)
        except LocalError as error:
            self._log.error("the users stay as they were: {reason}", reason=str(error))
            return
        self.users = users
        self._changed(users)
        self._log.info("the users were read: {count} users", count=len(users))

    def _look_at_files(self) -> None:
        if self._stamp() != self._read_at:
            self.reload()

    def _stamp(self) -> _Stamp:
        stamp: list[tuple[int, int, int] | None] = []
        for path in (self._files.credentials, self._files.permissions, self._files.aliases):
            try:
                state = path.stat()
            except OSError:
                stamp.append(None)
            else:
                stamp.append((state.st_mtime_ns, state.st_size, state.st_ino))
        return tuple(stamp)
