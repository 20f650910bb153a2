"""
The C{sipxha} command of operators, one module for each verb.

    main          the command itself: which verbs there are, loaded when asked for
    output        what all verbs share: options, tables and JSON, exit statuses
    init          a new pair of node folders
    node          nodes that come and go
    check         all that a start would need
    dns  cert     the zone fragment; authority and node certificates
    user  db      people; databases
    status        what a running node says: status, registrations, peers
    calls         the calls of the cluster at this moment
    binding       register and unregister: contacts of users, on a running node
    life          reload and drain: what a running node does with itself
    import_sipx   what a sipXpbx server knew, taken over
    completion    what a shell needs to complete words
    resolve       one pass of the call resolver
    cdr           call detail records: which are asked for
    cdr_formats   ... and how they are written down

Verbs work on files, or talk to a running node over its control socket.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 done in part.
"""
