"""
The four transaction machines of RFC 3261 section 17, without sockets or clock.

    - vocabulary: states, inputs, timers and their durations, keys, effects
    - tables: the four machines as data, each under its figure
    - machine: one step of a table
    - key: which transaction a message belongs to (sections 17.1.3, 17.2.3)
    - derived: the requests that a client transaction makes itself: the ACK of
      a failure, and CANCEL
    - alarms: their running timers
    - resting: what is left of those that are over but for repetitions
    - layer: all live transactions

What happened goes in together with the time, effects come out as values; who
performs them is L{sipxha.net.driver}.  Transactions do not know what a dialog,
a route or a registration is.
"""
