"""
Tests for L{sipxha.cdr.record}.
"""

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.record import UNDECIDED, Termination


class TerminationTests(SynchronousTestCase):
    """
    Tests for the codes of the column C{termination}.
    """

    def test_codes_are_what_reports_know(self) -> None:
        """
        R I C F T U A, of which the first two are no outcome.
        """
        self.assertEqual("".join(Termination), "RICFTUA")
        self.assertEqual({"R", "I"}, UNDECIDED)
