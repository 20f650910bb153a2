"""
Whose fault a failure is.

Every error that sipxha raises on purpose is a L{RemoteError} (the far end
broke its protocol, and is to be told so) or a L{LocalError} (this node cannot
do what it should).  Leaves live beside the code that raises them and are
named after the finding.  Nothing here logs, formats for people or retries.
"""

from __future__ import annotations


class SipxhaError(Exception):
    """
    The base of all errors that sipxha raises on purpose.
    """


class RemoteError(SipxhaError):
    """
    The far end sent something that we refuse.
    """

    status: int = 400
    """The SIP status code to answer with, where an answer is due."""


class LocalError(SipxhaError):
    """
    This node cannot do what was asked of it.
    """

    status: int = 500
    """The SIP status code to answer with, where an answer is due."""
