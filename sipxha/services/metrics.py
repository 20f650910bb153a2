"""
What Prometheus is told of a node.

All of it is read when it is asked for, from plain numbers that the parts of
the node keep: a node that nobody watches spends hardly anything on it, and what
one look costs does not depend on how many phones there are.  Labels are names that the
configuration or this program gives, never what strangers send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from sipxha.net.traffic import Counts
from sipxha.services.durations import BOUNDS, Durations
from sipxha.services.overview import Overview
from sipxha.sync.link import State

_RESULTS = {
    401: "challenged",
    403: "forbidden",
    404: "unknown",
    423: "interval",
    500: "conflict",
    503: "overload",
}
"""What a refused REGISTER is called; any other status is C{refused}."""

_ROWS = (("in", "applied"), ("in", "stale"), ("out", "applied"), ("out", "error"))
"""What becomes of rows that come and go."""


class Metrics(Collector):
    """
    The metrics of one node.
    """

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._version = version("sipxha")
        self._all = CollectorRegistry()
        self._all.register(self)
        # Memory, CPU and open files, by the names that dashboards know.
        ProcessCollector(registry=self._all)

    def page(self) -> bytes:
        """
        Everything, in the text format.
        """
        return generate_latest(self._all)

    def collect(self) -> Iterator[Metric]:
        """
        Everything but what the process is.
        """
        yield from self._node()
        yield from self._registrations()
        yield from self._peers()
        yield from self._sip()
        yield from self._call_events()
        if self._overview.resolution is not None:
            partial = self._overview.resolution.is_partial
            yield _gauge("cdr_run_partial", "Whether the last pass lacked a host.", [({}, partial)])

    def _node(self) -> Iterator[Metric]:
        overview = self._overview
        build = {"version": self._version, "node": overview.config.node.name}
        yield _gauge("build_info", "What runs here.", [(build, 1)])
        yield _gauge("up", "Whether the node runs: always 1.", [({}, 1)])
        yield _gauge("ready", "Whether SIP is open.", [({}, overview.is_ready)])
        yield _gauge("degraded", "Whether something is missing: see trouble.", [({}, overview.is_degraded)])
        yield _gauge("start_time_seconds", "When the node was started.", [({}, overview.started)])
        lag = overview.loop_lag.longest
        yield _gauge("eventloop_lag_seconds", "The longest of the last minute.", [({}, lag)])
        now = overview.now()
        ends = [({"cert": name}, end.timestamp() - now) for name, end in overview.certificates.items()]
        yield _gauge("cert_expiry_seconds", "Until a certificate that is shown ends.", ends)
        if overview.users is not None:
            yield _gauge("users", "Who may register.", [({}, len(overview.users.users))])
        if overview.failures is not None:
            results = [({"result": name}, count) for name, count in overview.failures.counts.items()]
            yield _counter("auth", "Credentials, by what they proved.", results)
        events = [({"event": name}, count) for name, count in overview.security.counts.items()]
        yield _counter("security_events", "What came from outside and should not.", events)

    def _registrations(self) -> Iterator[Metric]:
        overview = self._overview
        if overview.registry is not None:
            live = overview.registry.live(overview.now())
            yield _gauge(
                "registrations",
                "Bindings that have not ended, by the node that took them.",
                [({"primary": name}, count) for name, count in live.items()],
            )
            aors = overview.registry.aors
            yield _gauge("aors", "Addresses-of-record that have rows, ended ones included.", [({}, aors)])
            held = len(overview.registry)
            yield _gauge("registry_rows", "Rows that are held, ended ones included.", [({}, held)])
        if overview.store is not None:
            degraded = overview.store.degraded
            yield _gauge("store_degraded", "Whether the disk refuses registrations.", [({}, degraded)])
        if overview.change_log is not None:
            log = overview.change_log
            results = Counter({"ok": log.confirmed})
            for status, count in log.refusals.items():
                results[_RESULTS.get(status, "refused")] += count
            yield _counter(
                "register",
                "REGISTERs, by what was answered.",
                [({"result": result}, count) for result, count in results.items()],
            )
            yield _histogram(
                "register_seconds", "From a REGISTER until its 200, disk included.", [({}, log.delays)]
            )
            causes = [({"cause": cause}, count) for cause, count in log.changes.items()]
            yield _counter("binding_changes", "Bindings that changed on this node.", causes)

    def _peers(self) -> Iterator[Metric]:
        replication = self._overview.replication
        if replication is None:
            return
        states = replication.states()
        yield _gauge(
            "peer_state",
            "1 for the state in which a peer is.",
            [
                ({"peer": peer, "state": each.value}, each is state)
                for peer, state in states.items()
                for each in State
            ],
        )
        lags = {peer: replication.lag(peer) for peer in states}
        updates = [({"peer": peer}, lag[0]) for peer, lag in lags.items()]
        yield _gauge("replication_lag_updates", "Updates of this node that a peer lacks.", updates)
        seconds = [({"peer": peer}, lag[1]) for peer, lag in lags.items()]
        yield _gauge("replication_lag_seconds", "For how long it has lacked one.", seconds)
        resets = [({"peer": peer}, replication.resets[peer]) for peer in states]
        yield _counter("replication_resets", "Agreements on the numbering.", resets)
        found = [({"peer": peer}, replication.differences[peer]) for peer in states]
        yield _counter("replication_differences", "Comparisons that found other rows there.", found)
        same = [({"peer": peer}, replication.is_same(peer)) for peer in states]
        yield _gauge("db_digest", "1 where the last comparison found the same rows there.", same)
        yield _histogram(
            "replication_push_seconds",
            "From a push to a peer until its answer, which waits for its disk.",
            [({"peer": peer}, replication.pushes[peer]) for peer in states],
        )
        rows = [
            ({"peer": peer, "dir": way, "result": result}, replication.rows[peer, way, result])
            for peer in states
            for way, result in _ROWS
        ]
        yield _counter("replication_rows", "Rows that were exchanged, by what became of them.", rows)
        yield _counter(
            "replication_refused",
            "Connections and calls that were refused: who made them, or what they held.",
            [({}, replication.refused)],
        )
        differs = [({"peer": peer}, peer in replication.disagreement()) for peer in states]
        yield _gauge("peer_differs", "1 where a peer has other users, rules or another secret.", differs)
        missed = replication.unacknowledged
        yield _counter("replication_unacknowledged", "Updates no peer confirmed in time.", [({}, missed)])

    def _sip(self) -> Iterator[Metric]:
        messages: list[tuple[dict[str, str], float]] = []
        failovers: Counter[str] = Counter()
        malformed, transactions, connections = [], [], []
        refused = 0
        for endpoint in self._overview.endpoints:
            service = {"service": str(endpoint.name)}
            messages += _messages({**service, "dir": "in"}, endpoint.received)
            messages += _messages({**service, "dir": "out"}, endpoint.sent)
            failovers.update(endpoint.failovers)
            malformed.append((service, endpoint.malformed))
            transactions.append((service, endpoint.transactions))
            for way, count in endpoint.open_connections.items():
                connections.append(({**service, "transport": way}, count))
            refused += endpoint.refused_connections
        shed = {} if self._overview.gate is None else self._overview.gate.shed
        dropped = [(_reason(cause), count) for cause, count in shed.items()]
        dropped.append(({"reason": "connections", "method": ""}, refused))
        yield _counter("dropped", "Requests and connections that were turned away.", dropped)
        if self._overview.fork_proxy is not None:
            attempts = self._overview.fork_proxy.attempts
            outcomes = [({"outcome": outcome}, count) for outcome, count in attempts.outcomes.items()]
            yield _counter("session_establishment", "Attempts at calls, by how they ended.", outcomes)
            yield _histogram(
                "invite_setup_seconds", "From an INVITE until it rings.", [({}, attempts.delays)]
            )
            emergencies = self._overview.fork_proxy.emergencies
            yield _counter("emergency_calls", "Emergency calls that were let through.", [({}, emergencies)])
        if self._overview.mirror is not None:
            mirror = self._overview.mirror
            mirrored = [({"result": "sent"}, mirror.sent), ({"result": "lost"}, mirror.lost)]
            yield _counter("hep_messages", "Messages that were mirrored.", mirrored)
        yield _counter("sip_messages", "Requests and answers that came in or went out.", messages)
        left = [({"reason": reason}, count) for reason, count in failovers.items()]
        yield _counter("srv_failover", "Servers that were left for the next one, by what was wrong.", left)
        yield _counter("sip_parse_errors", "What came in and is no SIP.", malformed)
        yield _gauge("transactions", "Transactions that are alive.", transactions)
        yield _gauge("connections", "Open connections over TCP and TLS.", connections)

    def _call_events(self) -> Iterator[Metric]:
        log = self._overview.call_log
        if log is None:
            return
        yield _counter("cse_written", "Call events that the database took.", [({}, log.written)])
        yield _counter("cse_lost", "Call events that could not be kept.", [({}, log.lost)])
        yield _counter("cse_refused", "Call events that the database refused.", [({}, log.refused)])
        yield _gauge("cse_spool_events", "Call events that wait for the database.", [({}, log.waiting)])
        yield _gauge("cse_journal_bytes", "What their journal takes on the disk.", [({}, log.journal_bytes)])
        yield _gauge("cse_db_up", "Whether the database takes call events.", [({}, log.is_writing)])


_Samples = Iterable[tuple[dict[str, str], float]]


def _messages(labels: dict[str, str], counts: Counts) -> Iterator[tuple[dict[str, str], float]]:
    """
    What took which way, as far as anything did.
    """
    for way, kinds in counts.items():
        for kind, count in kinds.items():
            if count:
                method, digit = (kind, "") if isinstance(kind, str) else ("", f"{kind}xx")
                yield {**labels, "transport": way, "method": method, "code_class": digit}, count


def _reason(cause: str) -> dict[str, str]:
    """
    Why a request was turned away: the sender's rate, or our own load and its method.
    """
    if cause == "source":
        return {"reason": "rate", "method": ""}
    return {"reason": "load", "method": cause}


def _gauge(name: str, text: str, samples: _Samples) -> Metric:
    return _filled(GaugeMetricFamily(f"sipxha_{name}", text), "", samples)


def _counter(name: str, text: str, samples: _Samples) -> Metric:
    return _filled(CounterMetricFamily(f"sipxha_{name}", text), "_total", samples)


def _histogram(name: str, text: str, samples: Iterable[tuple[dict[str, str], Durations]]) -> Metric:
    metric = HistogramMetricFamily(f"sipxha_{name}", text)
    for labels, durations in samples:
        sums = accumulate(durations.counts)
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), sums, strict=True):
            metric.add_sample(metric.name + "_bucket", {**labels, "le": bound}, count)
        metric.add_sample(metric.name + "_count", labels, sum(durations.counts))
        metric.add_sample(metric.name + "_sum", labels, durations.total)
    return metric


def _filled(metric: Metric, suffix: str, samples: _Samples) -> Metric:
    for labels, value in samples:
        metric.add_sample(metric.name + suffix, labels, float(value))
    return metric
