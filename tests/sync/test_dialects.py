"""
Tests for L{sipxha.sync.dialects}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync import rpc
from sipxha.sync.batch import BATCH
from sipxha.sync.dialects import DIALECTS, spoken_in
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import Fault

NOW = 1_700_000_000.0
ME, PEER = "sipx2.example.com", "sipx1.example.com"


class DialectTests(SynchronousTestCase):
    """
    Tests for calls in each dialect.
    """

    def test_the_newest_is_tried_first(self) -> None:
        """
        And each has methods of its own (design 5.5).
        """
        self.assertEqual(DIALECTS, (BATCH, MEMO, SIPX))
        methods = [method for dialect in DIALECTS for method in dialect.methods]
        names = ("pullUpdates", "reset", "pushUpdates")
        expected = [f"registrarSync2.{name}" for name in (*names, "digest")]
        expected += [f"{prefix}.{name}" for prefix in ("registrarSync", "registerSync") for name in names]
        self.assertEqual(methods, expected)

    def test_a_method_belongs_to_one_dialect_or_to_none(self) -> None:
        """
        -3, and nothing else, tells a peer to speak otherwise.
        """
        for dialect in DIALECTS:
            for method in dialect.methods:
                self.assertIs(spoken_in(DIALECTS, method), dialect)
        for spoken, method in ((DIALECTS, "registrarSync.other"), ((MEMO,), BATCH.reset)):
            fault = self.assertRaises(Fault, spoken_in, spoken, method)
            self.assertEqual(fault.code, rpc.UNKNOWN_METHOD)
