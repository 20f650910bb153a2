"""
C{twistd sipxha}: a node as a process.

Everything that can be wrong is looked for before the process goes into the
background, so that a start fails in the shell and not in a log.  Here are the
options, the log, the signals and the exit status; what a node does is in
L{sipxha.services.node}.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.usage import Options as UsageOptions
from zope.interface import implementer

from sipxha.config import model
from sipxha.config.load import ConfigurationRefused, load
from sipxha.services.log_line import json_entry, text_entry
from sipxha.services.node import Node
from sipxha.services.pauses import Pauses
from sipxha.services.start_check import start_problems
from sipxha.services.systemd import Systemd


class Options(UsageOptions):
    """
    The options of C{twistd sipxha}.
    """

    synopsis = "[--config F]"
    longdesc = "Run a node of sipxha. The services whose elements are in the configuration run on it."
    optParameters = [["config", None, "etc/sipxha.xml", "The node's configuration."]]


def makeService(options: Options) -> MultiService:
    """
    Read and check everything, or end the process with one line.
    """
    path = Path(options["config"])
    try:
        config = load(path)
    except ConfigurationRefused as refused:
        _refuse(refused.problems, path)
    problems = start_problems(config)
    if problems:
        _refuse(problems, path)
    try:
        entry = json_entry if config.log.format == "json" else text_entry
        log = LineLog(_log_stream(config.log, options.parent or {}), entry)
        security = None if config.log.security is None else SecurityLog(_log_file(config.log.security))
    except OSError as error:
        _refuse([f"{error.filename}: {error.strerror}"], path)

    # The choice of a reactor is twistd's, and made by now.
    from twisted.internet import reactor

    return Process(reactor, Node(reactor, config), log, config.log.level, security)


def _refuse(problems: tuple[str, ...] | list[str], path: Path) -> NoReturn:
    more = f" (and {len(problems) - 1} more: sipxha check --config {path})" if len(problems) > 1 else ""
    print(f"sipxha: {problems[0]}{more}", file=sys.stderr)  # noqa: T201
    raise SystemExit(1)


class Process(MultiService):
    """
    A L{Node} with a log, which obeys signals and tells by its exit status how
    it went.

    C{SIGTERM} ends it with status 0 once the node has flushed, C{SIGHUP}
    reloads.  If the node fails, one line says so and the status is 1.
    """

    _log = Logger(namespace="sipxha")

    def __init__(
        self, reactor: Any, node: Node, log: LineLog, level: str, security: SecurityLog | None = None
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._node = node
        self._lines = log
        self._status: str | None = None
        self._predicate = LogLevelFilterPredicate()
        self.set_level(level)
        self._systemd = Systemd(os.environ)
        self._pauses = Pauses()
        node.reopen_log = self._reopen
        self._security = security
        if security is not None:
            node.security.write = security.write
        node.set_log_level = self.set_level

    def setServiceParent(self, parent: Any) -> None:
        """
        Give twistd's application our log.
        """
        parent.setComponent(ILogObserver, FilteringLogObserver(self._lines, [self._predicate]))
        super().setServiceParent(parent)

    def set_level(self, name: str) -> None:
        """
        Write lines from this level on.
        """
        level = LogLevel.levelWithName(name)
        self._predicate.defaultLogLevel = level
        self._predicate.clearLogLevels()
        if level is LogLevel.info:
            # Twisted's news about its factories and ports are for debugging.
            for namespace in ("twisted", "log_legacy"):
                self._predicate.setLogLevelForNamespace(namespace, LogLevel.warn)

    def _reopen(self) -> None:
        self._lines.reopen()
        if self._security is not None:
            self._security.reopen()

    def startService(self) -> None:
        """
        Start the node as soon as the reactor runs.
        """
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        # Now, because the reactor has put its own in place, which let the
        # process die of SIGTERM.
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGHUP, self._hung_up)
        self._pauses.begin()
        self._node.failed.addCallback(self._node_failed)
        self._node.drained.addCallback(lambda _: self._stop())
        self._node.ready.addCallback(self._ready)
        if self._systemd.watchdog is not None:
            # Fed by the reactor: one that turns no more is one that serves nobody.
            LoopingCall(self._systemd.alive).start(self._systemd.watchdog)
        self._node.setServiceParent(self)

    def _terminated(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._stop)

    def _hung_up(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._reload)

    def _ready(self, status: str) -> None:
        self._status = status
        self._pauses.settle()
        self._systemd.ready(status)

    def _stop(self) -> None:
        self._systemd.stopping()
        # Whoever sends SIGTERM may do so twice.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _reload(self) -> None:
        self._systemd.reloading()
        self._node.reload().addBoth(self._reloaded)

    def _reloaded(self, result: object) -> None:
        if isinstance(result, Failure):
            self._log.failure("a reload broke off", result)
        if self._status is not None:
            self._systemd.ready(self._status)

    def _node_failed(self, reason: str) -> None:
        self._log.critical("cannot go on: {reason}", reason=reason)
        # The last word: by then twistd has stopped all services and removed
        # its pid file, and it has no way to give a status of its own.
        atexit.register(_exit, 1)
        self._stop()


def _exit(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _log_stream(log: model.Log, twistd: Any) -> IO[str] | LogFile:
    """
    Where the log goes: where the configuration says, else where C{twistd}'s
    options say.

    @raise OSError: When the file cannot be written.
    """
    name = log.file or twistd.get("logfile") or (None if twistd.get("nodaemon") else "twistd.log")
    if name is None or name == "-":
        return sys.stdout
    # Where twistd will be, which is not where it is now.
    return _log_file(Path(twistd.get("rundir", "."), name).absolute())


def _log_file(path: Path) -> LogFile:
    # Rotation is logrotate's, which sends SIGHUP.
    return LogFile(path.name, os.fspath(path.parent), rotateLength=None)


def _reopened(file: LogFile) -> LogFile:
    after = LogFile(file.name, file.directory, rotateLength=None)
    file.close()
    return after


@implementer(ILogObserver)
class LineLog:
    """
    Writes each event as one entry.
    """

    def __init__(self, stream: IO[str] | LogFile, entry: Callable[[LogEvent], str] = text_entry) -> None:
        self._stream = stream
        self._entry = entry

    def __call__(self, event: LogEvent) -> None:
        """
        Write one event.
        """
        self._stream.write(self._entry(event))
        self._stream.flush()

    def reopen(self) -> None:
        """
        Go on in a new file, after the old one was moved away.

        @raise OSError: It cannot be made, and the old one goes on.
        """
        if isinstance(self._stream, LogFile):
            self._stream = _reopened(self._stream)


class SecurityLog:
    """
    The file of security events.
    """

    _log = Logger()

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._is_broken = False

    def write(self, line: str) -> None:
        """
        Write a line; that it cannot be written costs nothing else.
        """
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            if not self._is_broken:
                self._log.error("security events cannot be written: {reason}", reason=str(error))
            self._is_broken = True
        else:
            self._is_broken = False

    def reopen(self) -> None:
        """
        Go on in a new file, after the old one was moved away.

        @raise OSError: It cannot be made, and the old one goes on.
        """
        self._file = _reopened(self._file)
