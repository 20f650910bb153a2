"""
Sockets: everything that touches the network, and nothing that decides.

    - driver: runs a pure core in the reactor; the one timer of each
    - endpoint: one SIP service's ports and transactions, and its user
    - transaction_user: what such a user has to be
    - own_via: the Via that it puts on what it sends
    - branch: one request on its way through several hops
    - transports: which socket a SIP message takes
    - siblings: the endpoints of one process, which need no socket for each other
    - handover: a request between two of them, in place of both transactions
    - traffic: how many messages of what kind took which way
    - connections: and which of the connections over TCP and TLS
    - udp, stream: datagrams and connections that carry SIP
    - hep: mirrors all of that to a collector
    - stun: tells a phone behind a NAT which address it has
    - sip_tls: SIP over TLS; who the far end has proved to be
    - dns, names, dns_client: hops for a URI; records remembered; servers asked
    - zone_server: a zone file served over UDP and TCP
    - zone_probe: a DNS server asked for all that a cluster needs, by a command
    - tls: mutual TLS between nodes
    - http1: HTTP/1.1 as bytes
    - rpc_client, rpc_server: the XML-RPC of replication
    - postgres_gate: the local database, for peers with a certificate
"""
