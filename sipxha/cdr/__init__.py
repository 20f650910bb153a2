"""
Call state events in, call detail records out; values only.

    event.py       what a proxy saw of a call: one row of C{call_state_events}
    observe.py     SIP messages -> events
    scrutiny.py    why an event cannot be used, if so
    order.py       the events of one call in the order of cause and effect, and the clock skew this reveals
    party.py       From, To and Contact values as CDRs show them
    direction.py   at a gateway or not, and over which transport: the two sides of a call
    legs.py        events by dialog; which leg speaks for the call
    resolve.py     all events of one call -> its record
    record.py      the record: one row of C{cdrs}, and its termination codes
    ledger.py      the calls that may yet change, as their events come in
    live.py        the calls that are not over, joined from what each node has seen
    position.py    how far a host has been read
    daily.py       moments that come once a day
    window.py      moments as people write them

Nothing here reads a clock or a database; rows come and go in L{sipxha.store}.
"""
