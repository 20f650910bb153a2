"""
Where requests go: values in, values out.

    rules         forwardingrules.xml: which requests leave for where
    mapping       mappingrules.xml, fallbackrules.xml: where else a number is answered
    permissions   authrules.xml: which permission a target needs
    route         Route sets and the own names of a proxy
    route_state   what the proxies remember in Record-Route
    flow_token    what leads back to a phone's flow
    caller_alias  caller-alias.xml: which name a gateway is shown
    emergency     numbers that everybody may call
    loop          loops, spirals and Max-Forwards
    fork          branches of one request and their best response
    location      RFC 3263 and RFC 2782: from a URI to places
    quarantine    places that failed of late

Nothing here opens a socket, asks DNS or knows the time.
"""
