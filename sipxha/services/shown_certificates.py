"""
The certificates that a node shows, and who shows them.

They are read again while the node runs, all or none: what no peer would have
is refused before anybody shows it.  How they are read from files is
L{sipxha.config}'s, how they are shown L{sipxha.net}'s.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from twisted.logger import Logger

from sipxha.config import model
from sipxha.config.certificates import CertificateUnusable, ends_soon, read_certificate
from sipxha.config.pem_files import pem_problems, public_pem_problems
from sipxha.net.tls import MutualTls


class ShownCertificates:
    """
    The node's own, and that which phones see where it is another.
    """

    _log = Logger()

    def __init__(self, config: model.Config, now: Callable[[], float]) -> None:
        self._domain = config.domain.name
        self._node = config.node.name
        self._own = config.tls
        self._public = config.proxy.tls if config.proxy is not None else None
        self._now = now
        self._shown_by: list[Callable[[], None]] = []

    @property
    def paths(self) -> list[Path]:
        """
        The files.
        """
        return [path for tls in self._all() for path in (tls.certificate, tls.key, tls.authority)]

    def shown_by(self, read: Callable[[], None]) -> None:
        """
        Let somebody who shows them know when there are others.

        @param read: Reads them again, for connections to come.
        """
        self._shown_by.append(read)

    def read_again(self) -> None:
        """
        Let everybody who shows them show those that are there now.

        @raise LocalError: No peer would have one of them.
        """
        now = datetime.fromtimestamp(self._now(), UTC)
        problems: list[str] = []
        if self._own is not None:
            # Refuses what cannot be read, with which the next one does not reckon.
            MutualTls(self._own)
            problems += pem_problems(self._own, self._node, now)
        if self._public is not None:
            MutualTls(self._public)
            problems += public_pem_problems(self._public, self._domain, now)
        if problems:
            raise CertificateUnusable("; ".join(problems))
        for read in self._shown_by:
            read()

    def remind(self) -> None:
        """
        Say of each certificate that ends soon that it does.
        """
        now = datetime.fromtimestamp(self._now(), UTC)
        try:
            ends = self.ends()
        except CertificateUnusable:
            # Somebody is just writing it; a reload will tell.
            return
        for file, end in ends.items():
            if ends_soon(end, now):
                self._log.warn("{file} ends on {date}: renew it", file=file, date=f"{end:%Y-%m-%d}")

    def ends(self) -> dict[str, datetime]:
        """
        @return: when each certificate ends, by its file.
        """
        paths = [path for tls in self._all() for path in (tls.certificate, tls.authority)]
        return {str(path): read_certificate(path).not_valid_after_utc for path in paths}

    def _all(self) -> list[model.Tls]:
        return [tls for tls in (self._own, self._public) if tls is not None]
