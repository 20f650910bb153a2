"""
What two real nodes tell Prometheus of registrations and calls.
"""

from __future__ import annotations

import http.client
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from sipxha.config.load import load
from tests.system.servers import PairTestCase, Server, until

Samples = Counter[tuple[str, frozenset[tuple[str, str]]]]


def samples(node: Server) -> Samples:
    """
    The page of a node: values by name and labels.
    """
    console = load(node.config).console
    assert console is not None
    connection = http.client.HTTPConnection(console.address, console.port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found: Samples = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value  # type: ignore[assignment]
    return found


class MetricsTests(PairTestCase):
    """
    What happened on a node is in its numbers, once.
    """

    def grown(self, node: Server, before: Samples, name: str, **labels: str) -> float:
        """
        By how much something has grown, over all labels that are not given.
        """
        wanted = set(labels.items())
        return sum(
            value - before[each]
            for each, value in samples(node).items()
            if each[0] == f"sipxha_{name}" and wanted <= each[1]
        )

    async def test_a_registration_and_a_call_are_counted_where_they_were_seen(self) -> None:
        """
        Messages by their transport, times in their histograms, rows at both
        nodes, and the call by its end.
        """
        before = {node.name: samples(node) for node in (self.west, self.east)}
        west, east = before[self.west.name], before[self.east.name]
        phone = await self.registered(self.west)
        caller = await self.registered(self.west, "tcp")
        call = await caller.call(phone.aor, through=self.west.address)
        self.assertEqual((await call.hang_up()).status, 200)
        for way in ("udp", "tcp"):
            self.assertEqual(
                self.grown(
                    self.west,
                    west,
                    "sip_messages_total",
                    service="proxy",
                    dir="in",
                    transport=way,
                    method="REGISTER",
                ),
                2,
                "a REGISTER, and again with credentials",
            )
        self.assertGreater(
            self.grown(self.west, west, "sip_messages_total", dir="out", transport="tcp", code_class="2xx"), 0
        )
        self.assertGreater(self.grown(self.west, west, "sip_messages_total", dir="in", transport="inside"), 0)
        self.assertEqual(self.grown(self.west, west, "register_total", result="ok"), 2)
        self.assertEqual(self.grown(self.west, west, "register_seconds_count"), 2)
        self.assertEqual(self.grown(self.west, west, "register_seconds_bucket", le="+Inf"), 2)
        self.assertLess(0, self.grown(self.west, west, "register_seconds_sum"))
        self.assertEqual(self.grown(self.west, west, "session_establishment_total"), 1)
        self.assertEqual(self.grown(self.west, west, "session_establishment_total", outcome="established"), 1)
        self.assertEqual(self.grown(self.west, west, "invite_setup_seconds_count"), 1)
        self.assertEqual(self.grown(self.west, west, "srv_failover_total"), 0)
        await until(
            lambda: self.grown(self.west, west, "replication_rows_total", dir="out", result="applied") == 2,
            "the rows do not go out",
        )
        self.assertEqual(self.grown(self.east, east, "replication_rows_total", dir="in", result="applied"), 2)
        self.assertGreater(self.grown(self.west, west, "replication_push_seconds_count"), 0)
        await until(
            lambda: (
                not any(n for each, n in samples(self.west).items() if each[0] == "sipxha_cse_spool_events")
            ),
            "the database takes no events",
        )
        self.assertGreaterEqual(self.grown(self.west, west, "cse_written_total"), 3)
