"""
Replication of the registry between nodes, as values.

    numbers     what an update is numbered, and how a start raises it
    updates     which rows may travel together
    rpc         calls, answers and faults, whatever the dialect
    wire        XML-RPC text and back, with 64-bit integers
    dialect     how one generation of registrars spells calls
    structs     the memo's dialect and sipX's: a row is a struct
    batch       that of our own kind: many rows, and each is one text
    dialects    all of them, in the order in which a peer is tried
    link        what this node believes about one peer
    effects     what the engine asks of its driver
    mesh        what the parts below share
    numbering   the numbers that this node gives, and gave in earlier lives
    answering   what peers ask of us
    calling     what we ask of peers
    healing     whether nodes that told each other everything hold the same
    engine      start-up and operation over all links
    agreement   what nodes tell each other of users and rules
    live_events what they tell of calls that are not over

Nothing here knows a socket or a clock.  L{sipxha.services.replication} drives
the engine, and L{sipxha.net} carries its calls.
"""
