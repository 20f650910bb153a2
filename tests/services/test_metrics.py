"""
Tests for L{sipxha.services.metrics}.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.init import Cluster, Server, make_cluster
from sipxha.config.load import load
from sipxha.net.traffic import no_messages
from sipxha.registry.table import Registry
from sipxha.services.call_attempts import CallAttempts
from sipxha.services.change_log import ChangeLog
from sipxha.services.durations import BOUNDS, Durations
from sipxha.services.metrics import Metrics
from sipxha.services.overview import Overview
from sipxha.sync.link import State
from tests.registry.rows import NOW, a_row


class MetricsTests(SynchronousTestCase):
    """
    Tests for L{Metrics}.
    """

    def setUp(self) -> None:
        """
        Make the overview of a node that has no parts yet.
        """
        folder = Path(self.mktemp())
        make_cluster(
            folder, Cluster("example.com", [Server("sipx1.example.com", "127.0.0.1")], embedded=True)
        )
        self.overview = Overview(load(folder / "sipx1.example.com" / "sipxha.xml"), lambda: NOW, started=NOW)

    def samples(self) -> dict[str, float]:
        """
        All that is told, as Prometheus reads it: C{name{labels}}, without the prefix.
        """
        found = {}
        for family in text_string_to_metric_families(Metrics(self.overview).page().decode()):
            for sample in family.samples:
                labels = ",".join(sample.labels.values())
                found[sample.name.removeprefix("sipxha_") + (f"{{{labels}}}" if labels else "")] = (
                    sample.value
                )
        return found

    def test_a_node_without_parts_can_be_measured(self) -> None:
        """
        It is up, and not ready.
        """
        samples = self.samples()
        self.assertEqual((samples["up"], samples["ready"], samples["degraded"]), (1, 0, 0))
        self.assertIn("process_resident_memory_bytes", samples)
        self.overview.security.saw("malformed", "192.0.2.7", NOW)
        self.assertEqual(self.samples()["security_events_total{malformed}"], 1)

    def test_registrations_are_counted_by_their_node(self) -> None:
        """
        Ended ones are rows only.
        """
        registry = self.overview.registry = Registry("sipx1.example.com", 7200)
        rows = [a_row(identity=f"{user}@example.com", update_number=user) for user in (1, 2)]
        there = a_row(identity="3@example.com", primary="sipx2.example.com", update_number=9)
        ended = a_row(identity="4@example.com", expires=int(NOW) - 1, update_number=3)
        registry.apply([*rows, there, ended], NOW)
        samples = self.samples()
        self.assertEqual(samples["registrations{sipx1.example.com}"], 2)
        self.assertEqual(samples["registrations{sipx2.example.com}"], 1)
        registry.apply([a_row(identity="1@example.com", callid="another", update_number=4)], NOW)
        samples = self.samples()
        self.assertEqual((samples["registry_rows"], samples["aors"]), (5, 4))
        self.assertEqual(self.overview.status()["registrations"], 4)

    def test_registers_are_counted_by_their_answers(self) -> None:
        """
        Statuses that have no name of their own are one.
        """
        log = self.overview.change_log = ChangeLog()
        log.confirmed = 5
        log.refusals.update({401: 4, 400: 1, 420: 2})
        samples = self.samples()
        for result, count in (("ok", 5), ("challenged", 4), ("refused", 3)):
            self.assertEqual(samples[f"register_total{{{result}}}"], count)

    def test_a_histogram_counts_what_is_not_above_its_bounds(self) -> None:
        """
        Whatever is above the last one is in the infinite one, and in the sum.
        """
        log = self.overview.change_log = ChangeLog()
        for seconds in (0.0005, 0.004, 0.004, 25.0):
            log.delays.took(seconds)
        samples = self.samples()
        buckets = [samples[f"register_seconds_bucket{{{bound}}}"] for bound in (*BOUNDS, "+Inf")]
        self.assertEqual(buckets, [1, 1] + [3] * (len(BOUNDS) - 2) + [4])
        self.assertEqual(samples["register_seconds_count"], 4)
        self.assertAlmostEqual(samples["register_seconds_sum"], 25.0085)

    def test_calls_are_counted_by_their_end(self) -> None:
        """
        With the time that their callers waited for the ringing.
        """
        attempts = CallAttempts()
        attempts.outcomes["declined"] = 3
        attempts.delays.took(0.3)
        self.overview.fork_proxy = cast(Any, SimpleNamespace(attempts=attempts, emergencies=0))
        samples = self.samples()
        self.assertEqual(samples["session_establishment_total{declined}"], 3)
        self.assertEqual(samples["session_establishment_total{failed}"], 0)
        self.assertEqual(samples["invite_setup_seconds_bucket{0.5}"], 1)

    def test_what_waits_for_the_database_is_told(self) -> None:
        """
        In events and in bytes, and whether records lack a host.
        """
        log = SimpleNamespace(
            written=1,
            lost=0,
            refused=0,
            waiting=7,
            journal_bytes=4096,
            is_writing=False,
            trouble=lambda: None,
        )
        self.overview.call_log = cast(Any, log)
        self.overview.resolution = cast(Any, SimpleNamespace(is_partial=True, trouble=lambda: None))
        samples = self.samples()
        self.assertEqual((samples["cse_spool_events"], samples["cse_journal_bytes"]), (7, 4096))
        self.assertEqual(samples["cdr_run_partial"], 1)

    def test_each_peer_is_in_one_state(self) -> None:
        """
        With what it lacks of us.
        """
        peers = {"a": State.REACHABLE, "b": State.UNREACHABLE}
        pushes = {peer: Durations() for peer in peers}
        pushes["a"].took(0.25)
        self.overview.replication = cast(
            Any,
            SimpleNamespace(
                states=lambda: peers,
                lag=lambda peer: (0, 0.0) if peer == "a" else (7, 3.5),
                resets={"a": 2, "b": 0},
                differences={"a": 0, "b": 1},
                unacknowledged=1,
                is_same=lambda peer: peer == "a",
                pushes=pushes,
                rows=Counter({("b", "in", "applied"): 9, ("b", "out", "error"): 2}),
                refused=2,
                disagreement=lambda: {"b": ["users"]},
            ),
        )
        samples = self.samples()
        for peer, state in peers.items():
            for each in State:
                self.assertEqual(samples[f"peer_state{{{peer},{each.value}}}"], each is state)
        lag = (samples["replication_lag_updates{b}"], samples["replication_lag_seconds{b}"])
        self.assertEqual(lag, (7, 3.5))
        self.assertEqual(samples["replication_resets_total{a}"], 2)
        self.assertEqual((samples["db_digest{a}"], samples["db_digest{b}"]), (1, 0))
        self.assertEqual(samples["replication_push_seconds_bucket{0.25,a}"], 1)
        self.assertEqual(samples["replication_push_seconds_count{b}"], 0)
        self.assertEqual(samples["replication_rows_total{in,b,applied}"], 9)
        self.assertEqual(samples["replication_rows_total{out,b,error}"], 2)
        self.assertEqual(samples["replication_rows_total{in,a,stale}"], 0)
        self.assertEqual(samples["replication_refused_total"], 2)
        self.assertEqual((samples["peer_differs{a}"], samples["peer_differs{b}"]), (0, 1))

    def test_messages_are_counted_by_service_and_transport(self) -> None:
        """
        Answers by the first digit of their status; what never came is not there.
        """
        received, sent = no_messages(), no_messages()
        received["udp"]["INVITE"] = 3
        sent["inside"][1] = 3
        sent["tls"][4] = 1
        endpoint = SimpleNamespace(
            name="proxy",
            received=received,
            sent=sent,
            failovers={"silent": 2, "unreachable": 0},
            malformed=6,
            transactions=1,
            open_connections={"tcp": 2, "tls": 0},
            refused_connections=4,
        )
        self.overview.endpoints = cast(Any, [endpoint, endpoint])
        samples = self.samples()
        self.assertEqual(samples["sip_messages_total{,in,INVITE,proxy,udp}"], 3)
        self.assertEqual(samples["sip_messages_total{1xx,out,,proxy,inside}"], 3)
        self.assertEqual(samples["sip_messages_total{4xx,out,,proxy,tls}"], 1)
        self.assertNotIn("sip_messages_total{,in,BYE,proxy,udp}", samples)
        self.assertEqual(samples["srv_failover_total{silent}"], 4)
        self.assertEqual(samples["srv_failover_total{unreachable}"], 0)
        self.assertEqual(samples["sip_parse_errors_total{proxy}"], 6)
        self.assertEqual((samples["transactions{proxy}"], samples["connections{proxy,tcp}"]), (1, 2))
        self.assertEqual(samples["dropped_total{,connections}"], 8)

    def test_what_load_turns_away_is_counted_by_reason(self) -> None:
        """
        With its method, where it was the load of the node.
        """
        self.overview.gate = cast(Any, SimpleNamespace(shed=Counter({"source": 5, "REGISTER": 2})))
        samples = self.samples()
        self.assertEqual(samples["dropped_total{,rate}"], 5)
        self.assertEqual(samples["dropped_total{REGISTER,load}"], 2)
