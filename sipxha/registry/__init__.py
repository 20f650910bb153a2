"""
The registry: which contacts an address-of-record is bound to.

Pure: rows, requests and the time go in, rows and refusals come out.  Nothing
here sends, stores or waits.

    binding    one row, its key and its slot
    domain     which addresses-of-record are ours
    validate   what may be a row at all, for REGISTER and for the wire
    merge      which of two rows of one key stays, whatever came first
    digest     what tells that two nodes hold the same rows
    several    the rows of an address-of-record that has more than one
    updates    the rows of one primary, by update number
    notifier   who watches which address-of-record, and when each is told
    reginfo    what a watcher is told: the document of RFC 3680
    rows       all rows, in every order in which they are asked for
    gruu       URIs that lead to one instance, and what they lead to
    register   a REGISTER request -> what it asks for, or a refusal
    table      the registry: the registrar's and replication's ways to change it
    administrative  what an operator binds and unbinds
    adopt      rows of another registrar become this node's
"""
