"""
Tests for L{sipxha.services.gate}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.security_events import SecurityEvents
from sipxha.config.limits import LoadLimits
from sipxha.routing import route_state
from sipxha.routing.emergency import EmergencyNumbers
from sipxha.services.gate import QUIET, RETRY_AFTER, SUSTAINED, TICK, Gate
from sipxha.sip.hop import Flow
from sipxha.sip.message import Request
from tests.services.proxies import DOMAIN, SECRET, a_request
from tests.support.fake_endpoint import FLOW

NODE = Flow("tcp", "10.1.1.51", 40000, "10.1.1.50", 5060, 1)
LOCAL = Flow("udp", "127.0.0.1", 5060, "127.0.0.1", 5060)


class GateCase(SynchronousTestCase):
    """
    Ten requests a second, twenty at once, 200 ms behind.
    """

    def setUp(self) -> None:
        """
        A gate that has looked at the clock.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.chance = 0.0
        self.security = SecurityEvents()
        self.gate = Gate(
            self.clock,
            LoadLimits(10, 20, 200),
            lambda address: address == NODE.address,
            lambda address: address in (NODE.address, "127.0.0.1"),
            EmergencyNumbers(["112"], DOMAIN, lambda uri: uri.host == DOMAIN),
            SECRET,
            lambda: self.chance,
            self.security,
        )
        self.gate.startService()
        self.addCleanup(self.gate.stopService)

    def passes(self, method: str = "INVITE", flow: Flow = FLOW, uri: str = f"sip:202@{DOMAIN}") -> bool:
        """
        Whether a request that begins something is let through.
        """
        return self.gate.judge(a_request(method, uri), flow) is None

    def in_dialog(self, parameter: str, call_id: str = "call@10.1.1.7") -> Request:
        """
        @return: a BYE with route state.
        """
        state = route_state.sign(SECRET, call_id, "caller", parameter)
        return a_request("BYE", to_tag="far", route=f"<sip:10.1.1.50:5080;lr;{parameter}={state}>")


class SourceTests(GateCase):
    """
    Somebody asks too much.
    """

    def test_too_many_from_one_address_are_turned_away(self) -> None:
        """
        With a moment by chance at which to come again; others are not
        concerned, nor our own nodes and this machine.
        """
        for flow, taken in ((FLOW, 20), (FLOW._replace(address="10.1.1.8"), 20), (NODE, 40), (LOCAL, 40)):
            self.assertEqual(sum(self.passes(flow=flow) for _ in range(40)), taken)
        self.assertEqual(self.gate.shed, {"source": 40})
        self.assertEqual(self.gate.judge(a_request(), FLOW), RETRY_AFTER[0])
        self.chance = 0.999
        self.assertEqual(self.gate.judge(a_request(), FLOW), RETRY_AFTER[1])

    def test_who_asks_too_much_is_a_security_event(self) -> None:
        """
        Each time, under its own address.
        """
        lines: list[str] = []
        self.security.write = lines.append
        for _ in range(23):
            self.passes()
        self.assertEqual(len(lines), 3)
        self.assertIn('event=rate source=10.1.1.7 transport=udp service=- method=INVITE detail=""', lines[0])

    def test_a_whole_network_of_ipv6_is_one_source(self) -> None:
        """
        One customer has all of a /64.
        """
        flows = [FLOW._replace(address=f"2001:db8::{number:x}") for number in range(1, 41)]
        self.assertEqual(sum(self.passes(flow=flow) for flow in flows), 20)

    def test_emergencies_and_calls_that_are_up_are_never_turned_away(self) -> None:
        """
        The others are known by our signature, and by nothing else.
        """
        while self.passes():
            pass
        self.assertTrue(self.passes(uri=f"sip:112@{DOMAIN}"))
        for parameter in (route_state.PARAMETER, route_state.EDGE_PARAMETER):
            self.assertIsNone(self.gate.judge(self.in_dialog(parameter), FLOW))
            self.assertIsNotNone(self.gate.judge(self.in_dialog(parameter, "other"), FLOW))
        self.assertIsNotNone(self.gate.judge(a_request("BYE", to_tag="far"), FLOW))

    def test_a_line_is_logged_once_for_each_source(self) -> None:
        """
        Until it has been quiet for a while.
        """
        with capturedLogs() as events:
            for _ in range(100):
                self.passes()
            self.clock.pump([TICK] * int((QUIET + 1) / TICK))
            for _ in range(100):
                self.passes()
        self.assertEqual([event["source"] for event in events], ["10.1.1.7"] * 2)


class LagTests(GateCase):
    """
    The reactor comes late to its work.
    """

    def late(self, seconds: float) -> None:
        """
        Let each turn of the reactor take so much longer than it should.
        """
        self.clock.pump([TICK + seconds] * (2 + int(SUSTAINED / (TICK + seconds))))

    def test_registers_go_first_and_then_all_that_begins_something(self) -> None:
        """
        For as long as it is behind.
        """
        for behind, register, invite in ((0.0, True, True), (0.3, False, True), (0.5, False, False)):
            self.late(behind)
            self.assertEqual((self.passes("REGISTER"), self.passes("INVITE")), (register, invite), behind)
            self.late(0.0)
            self.assertTrue(self.passes("REGISTER"))
        self.assertEqual(self.gate.shed, {"REGISTER": 2, "INVITE": 1})

    def test_being_late_once_is_no_load(self) -> None:
        """
        Whatever it was that took so long is over.
        """
        for behind in (5.0, 0.0, 5.0, 0.0):
            self.clock.advance(TICK + behind)
            self.assertTrue(self.passes("REGISTER"))

    def test_what_our_nodes_let_in_and_emergencies_pass(self) -> None:
        """
        This machine has no privilege here.
        """
        self.late(5.0)
        self.assertEqual((self.passes(flow=NODE), self.passes(flow=LOCAL)), (True, False))
        self.assertTrue(self.passes(uri=f"sip:112@{DOMAIN}"))
        self.assertIsNone(self.gate.judge(self.in_dialog(route_state.PARAMETER), FLOW))

    def test_methods_that_are_made_up_are_counted_together(self) -> None:
        """
        Else whoever floods us would fill the table.
        """
        self.late(5.0)
        with capturedLogs() as events:
            for method in ("FOO", "BAR"):
                self.passes(method)
        self.assertEqual(self.gate.shed, {"other": 2})
        self.assertEqual(len(events), 1)

    def test_a_gate_that_does_not_run_is_never_late(self) -> None:
        """
        Nor is one that was stopped.
        """
        self.late(5.0)
        self.gate.stopService()
        self.clock.advance(10)
        self.assertEqual(self.gate.lag, 0.0)
        self.gate.startService()
