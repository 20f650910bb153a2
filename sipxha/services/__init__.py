"""
One Twisted service for each of a node's jobs.

    node          builds all others from the configuration, starts and stops them:
    parts         what is open, and is closed in the opposite order
    pauses        how long the garbage collector may stop a node
    sip_services  registrar and proxies, with their ports
    call_records  the journal, its database, and who resolves calls
    shown_certificates  who shows which, and reads them again
    chance        for whoever needs it with every message
    start_check   what a start would fail on, found without starting
    change_log    a line and a count for each registration that changes
    registrar     REGISTER into the registry; other requests to
    redirect      where an address-of-record can be reached, and
    reg_event     who watches registrations, to be told of changes
    proxy         what the two proxies have in common, with
    forwarding    one forwarded request and its branches, and
    cluster       the values that they share
    fork_proxy    the domain's front door
    gate          who is turned away when there is too much to do
    edge          the flows to phones behind NAT, TCP and TLS
    auth_proxy    permissions, and staying in the dialog
    proxies       makes these two from the configuration
    replication   keeps the registries of the nodes the same, and
    acknowledgement  answers that wait until a peer has what they tell, and
    user_exchange the users of the nodes
    call_log      call state events into the journal and the database
    cse_hosts     the hosts of call state events, as a pass meets them
    live_calls    the calls of all nodes at this moment
    gateway_hosts where the gateways are, by which a pass tells the direction of calls
    call_resolver one pass from call state events to call detail records
    skew          whose clock is wrong, as passes find it
    resolution    passes, when they are due
    neighbours    the addresses of our own nodes
    gateways      those of the gateways
    user_files    the users, as their files say at the moment
    overview      how the node is
    metrics       the same for Prometheus, with
    durations     how long something took, each time,
    call_attempts how calls fare, and
    loop_lag      how late the reactor is
    log_line      how an event of the log reads
    console       what a running node answers over HTTP, described by
    openapi       a document for programs
    reload        what becomes of a running node when its files are read again
    drain         letting a node go without cutting anything off
    systemd       what the service manager is told
    administration  what its operator may change while it runs

They own sockets and files through L{sipxha.net} and L{sipxha.store}, and
decide by what the pure packages below say.
"""
