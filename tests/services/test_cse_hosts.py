"""
Tests for L{sipxha.services.cse_hosts}; what needs databases is in test_call_resolver.py.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.model import CseHost
from sipxha.services.cse_hosts import Host, HostReport, each_of, name_of
from sipxha.store.pool import DatabaseUnavailable


class HostTests(SynchronousTestCase):
    """
    Tests for asking several hosts at once.
    """

    def test_one_that_fails_costs_the_others_nothing(self) -> None:
        """
        It is given up, with the reason in its report.
        """
        good, bad = Host(HostReport("good")), Host(HostReport("bad"))
        answers = Deferred.fromCoroutine(
            each_of([(bad, fail(DatabaseUnavailable("gone"))), (good, succeed("rows"))])
        )
        self.assertEqual(self.successResultOf(answers), [(good, "rows")])
        self.assertEqual((bad.is_live, bad.report.fault, good.is_live), (False, "gone", True))

    def test_a_fault_of_ours_is_not_taken_for_a_host_that_is_down(self) -> None:
        """
        It ends the pass.
        """
        answers = Deferred.fromCoroutine(each_of([(Host(HostReport("a")), fail(KeyError("x")))]))
        self.failureResultOf(answers, KeyError)

    def test_this_node_has_no_port(self) -> None:
        """
        Its name in the table of positions does not change with its address.
        """
        self.assertEqual(name_of(CseHost("localhost", 5432)), "localhost")
        self.assertEqual(name_of(CseHost("sipx2.example.com", 5433)), "sipx2.example.com:5433")

    def test_a_host_that_was_never_read_is_behind_all_others(self) -> None:
        """
        So that time decides nothing, and nothing is deleted.
        """
        self.assertEqual(Host(HostReport("a")).read_to, float("-inf"))
