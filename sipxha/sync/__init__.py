"""
Replication of the registry between nodes, as values.

    numbers     what an update is numbered, and how a start raises it
    updates     which rows may travel together
    rpc         methods, shapes and faults: one table for both ends
    wire        XML-RPC text and back, with 64-bit integers
    link        what this node believes about one peer
    effects     what the engine asks of its driver
    engine      start-up and operation over all links

Nothing here knows a socket or a clock.  L{sipxha.services.replication} drives
the engine, and L{sipxha.net} carries its calls.
"""
