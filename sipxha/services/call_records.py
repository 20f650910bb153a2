"""
What a node keeps of calls: the journal and database of its call state events,
and where it resolves them, the passes that make call detail records.

Here is who gets what, and that nothing waits for a database: it may come up
late or never, and calls go on.  What each part does is its own business.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipxha.auth.security_events import SecurityEvents
from sipxha.config import model
from sipxha.net.dns import Locator
from sipxha.net.postgres_gate import PostgresGate
from sipxha.net.tls import MutualTls
from sipxha.services.call_log import CallLog
from sipxha.services.cse_hosts import Places
from sipxha.services.gateway_hosts import find_gateways
from sipxha.services.overview import Overview
from sipxha.services.parts import Parts
from sipxha.services.resolution import Resolution
from sipxha.services.shown_certificates import ShownCertificates
from sipxha.store.journal import Journal
from sipxha.store.pool import with_user_of
from sipxha.store.postgres import EmbeddedPostgres, PostgresUnusable


class CallRecords:
    """
    Those of one node.

    @ivar gate: The door to the database, for other nodes' resolvers.
    """

    _log = Logger()

    def __init__(self, reactor: Any, overview: Overview, parts: Parts, locator: Locator) -> None:
        self.gate: PostgresGate | None = None
        self._reactor = reactor
        self._overview = overview
        self._parts = parts
        self._locator = locator
        self._database: Deferred[None] = succeed(None)
        """Fires when the node's own database had its chance to start."""

    def open_events(
        self, config: model.CallEvents, certificates: ShownCertificates, security: SecurityEvents
    ) -> None:
        """
        Open the journal; its database may come later.
        """
        reactor, whole = self._reactor, self._overview.config
        node = whole.node
        if config.dsn is None:
            embedded = EmbeddedPostgres(reactor, node.data / "pg")
            self._parts.opened(embedded.stop)
            dsn = embedded.dsn()
            self._database = embedded.start()
            self._database.addErrback(self._database_failed)
        else:
            dsn = config.dsn
        call_log = self._overview.call_log = CallLog(reactor, Journal(node.data / "journal"), dsn)
        self._parts.opened(call_log.stopService)
        # Not before the database had its chance, or every start would begin
        # with a warning.  The journal takes events from the first call on.
        self._start_with_database(call_log)
        if config.listen is not None:
            assert whole.tls is not None
            tls = MutualTls(whole.tls)
            certificates.shown_by(tls.reload)
            self.gate = PostgresGate(
                reactor, tls, whole.node_names(), node.listen, config.listen, dsn, security
            )
            self._parts.run(self.gate)

    def open_resolver(self, config: model.CallResolver) -> None:
        """
        Resolve calls, where the node is to do that by itself.
        """
        if config.follow is None and config.run_daily is None:
            return
        overview = self._overview
        node, call_events = overview.config.node, overview.config.call_events
        embedded = EmbeddedPostgres(self._reactor, node.data / "pg").dsn()
        dsn = config.dsn or embedded
        own_dsn = dsn if call_events is None else with_user_of(call_events.dsn or embedded, dsn)
        places = Places(
            config,
            dsn,
            own_dsn,
            overview.config.tls,
            self._locator.addresses,
            # The gateways of this moment.
            lambda: find_gateways(overview.config.domain.gateways, self._locator),
        )
        resolution = overview.resolution = Resolution(self._reactor, places, self._reactor)
        self._parts.opened(resolution.stopService)
        self._start_with_database(resolution)

    def _start_with_database(self, part: CallLog | Resolution) -> None:
        def start(_: None) -> None:
            if not self._parts.is_closing:
                part.startService()

        self._database.addCallback(start)

    def _database_failed(self, failure: Failure) -> None:
        failure.trap(PostgresUnusable)
        self._log.error("the embedded database does not start: {reason}", reason=failure.getErrorMessage())
