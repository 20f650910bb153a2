"""
Rows and registrations with good defaults, for tests.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sipxha.registry.binding import Binding, flow_token
from sipxha.registry.register import Offer, Registration
from sipxha.registry.rows import Rows
from sipxha.sip.uri import Uri
from tests.support import bindings

NOW = 1_140_817_000.0

FLOWS = ("flow-1", "flow-2")
"""Tokens that some rows have in their Path."""

A_ROW = bindings.a_row(expires=int(NOW) + 3600, deadline=NOW + 3600)


def a_row(**columns: Any) -> Binding:
    """
    A row; its deadline is its C{expires} unless said otherwise.
    """
    row = A_ROW._replace(**columns)
    return row if "deadline" in columns else row._replace(deadline=float(row.expires))


def an_offer(contact: str = "<sip:201@10.1.1.7:5060>", expires: int = 3600, **fields: Any) -> Offer:
    """
    One contact.
    """
    return Offer(contact, Uri.parse(contact.strip("<>")), fields.pop("qvalue", ""), expires, **fields)


def a_registration(
    *contacts: Offer, callid: str = "f00d@10.1.1.7", cseq: int = 1, **fields: Any
) -> Registration:
    """
    A REGISTER of 201; without contacts it is a query.
    """
    return Registration("<sip:201@example.com>", "201@example.com", callid, cseq, contacts, **fields)


def contents(held: Rows) -> set[Binding]:
    """
    All rows, by every index but that of deadlines; these must agree.
    """
    by_number = [row for name in held.primaries() for row in held.rows_after(name, -1)]
    by_aor = [row for identity in held._aors for row in held.remembered(identity)]
    by_key = {row for row in by_aor if held.held(row.key) is row}
    by_call = {row for each in by_aor for row in held._of_call(each.identity, each.callid)}
    assert by_key == set(by_aor) == by_call == set(by_number)
    assert len(by_aor) == len(held)
    by_flow = {token: {row for row in by_key if flow_token(row.path) == token} for token in FLOWS}
    assert all(set(held.on_flow(token)) == of_token for token, of_token in by_flow.items())
    assert len(by_number) == len(held)
    return by_key


# Few values each, so that rows meet in every way.
rows = st.builds(
    a_row,
    identity=st.sampled_from(("201@example.com", "202@example.com")),
    contact=st.sampled_from(("<sip:a@10.1.1.7>", "<sip:b@10.1.1.8>", "*")),
    callid=st.sampled_from(("one", "two")),
    cseq=st.integers(1, 3),
    expires=st.integers(int(NOW) - 2, int(NOW) + 2),
    instance_id=st.sampled_from(("", "<urn:uuid:1>")),
    reg_id=st.sampled_from((0, 0, 1)),
    received=st.sampled_from(("", "udp:10.1.1.7:5060", "udp:10.1.1.8:5060")),
    path=st.sampled_from(("", "<sip:p1;lr>", *(f"<sip:{token}@p1;lr>" for token in FLOWS))),
    primary=st.sampled_from(("sipx1.example.com", "sipx2.example.com")),
    update_number=st.integers(1, 3),
)
