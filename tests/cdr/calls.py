"""
Call state events of made-up calls, with good defaults.
"""

from __future__ import annotations

from typing import Any

from sipxha.cdr.event import CallStateEvent

FORK = "10.1.1.50:5060"
AUTH = "10.1.1.50:5080"
FORK_2 = "10.1.2.50:5060"
AUTH_2 = "10.1.2.50:5080"

ALICE = '"Alice" <sip:alice@example.com>'
BOB = "<sip:bob@example.com>"


def _event(event_type: str, event_time: float, **fields: Any) -> CallStateEvent:
    known: dict[str, Any] = {
        "observer": AUTH,
        "event_seq": int(event_time * 1000),
        "cseq": 1,
        "call_id": "call-1@10.1.1.7",
        "from_tag": "a",
        "to_tag": "b",
    }
    known |= fields
    caller, callee = (ALICE, BOB) if known["from_tag"] == "a" else (BOB, ALICE)
    known.setdefault("from_url", caller + (f";tag={known['from_tag']}" if known["from_tag"] else ""))
    known.setdefault("to_url", callee + (f";tag={known['to_tag']}" if known["to_tag"] else ""))
    return CallStateEvent(event_type=event_type, event_time=event_time, **known)


def requested(event_time: float = 100.0, **fields: Any) -> CallStateEvent:
    """
    The INVITE of Alice to Bob at the front door.
    """
    return _event(
        "R",
        event_time,
        **{
            "observer": FORK,
            "to_tag": None,
            "contact": "<sip:alice@10.1.1.7:5062;transport=tcp>;expires=60",
            "branch_id": "z9hG4bK-1",
            "via_count": 1,
            "caller_internal": False,
        }
        | fields,
    )


def set_up(event_time: float = 103.0, **fields: Any) -> CallStateEvent:
    """
    Bob's 200.
    """
    return _event(
        "S",
        event_time,
        **{
            "contact": "<sip:bob@10.1.2.8:5060>",
            "branch_id": "z9hG4bK-1",
            "via_count": 2,
            "callee_route": "INT",
        }
        | fields,
    )


def failed(status: int = 486, event_time: float = 104.0, **fields: Any) -> CallStateEvent:
    """
    A final answer of the forking proxy to Alice's INVITE.
    """
    return _event(
        "F",
        event_time,
        **{
            "observer": FORK,
            "failure_status": status,
            "failure_reason": "Reason",
            "branch_id": "z9hG4bK-1",
            "via_count": 1,
        }
        | fields,
    )


def ended(event_time: float = 160.0, **fields: Any) -> CallStateEvent:
    """
    Alice's BYE.
    """
    return _event("E", event_time, **{"cseq": 2} | fields)


def ended_by_callee(event_time: float = 160.0, **fields: Any) -> CallStateEvent:
    """
    Bob's BYE, with tags and addresses swapped and his own CSeq.
    """
    return _event("E", event_time, **{"cseq": 1, "from_tag": "b", "to_tag": "a"} | fields)


def transferred(event_time: float = 150.0, **fields: Any) -> CallStateEvent:
    """
    Alice's REFER.
    """
    return _event("T", event_time, **{"cseq": 2, "refer_to": "<sip:carol@example.com>"} | fields)
