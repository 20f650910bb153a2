"""
Rows and texts, for the tests of dialects.
"""

from __future__ import annotations

from hypothesis import strategies as st

from sipxha.registry.binding import Binding
from sipxha.registry.validate import INT32, LATEST
from sipxha.sync.numbers import LARGEST

# What is special to XML, to SIP and to sipX, and letters of every width.
_TEXT = st.lists(st.sampled_from("aB0 %<>&;,@:\"'\\\u00e9\u20ac\U0001f600\ud7ff\u2028"), max_size=16).map(
    "".join
)
_SOME = _TEXT.filter(bool)
ROWS = st.builds(
    Binding,
    uri=_TEXT,
    identity=_SOME,
    contact=_SOME,
    qvalue=_TEXT,
    callid=_SOME,
    cseq=st.integers(0, INT32),
    expires=st.integers(0, LATEST),
    instance_id=_SOME,
    reg_id=st.integers(0, INT32),
    gruu=_TEXT,
    path=_TEXT,
    received=_TEXT,
    primary=_SOME.map(str.lower),
    update_number=st.integers(1, LARGEST),
    deadline=st.just(0.0),
)
