"""
SIP messages and header values: syntax only, bytes in and bytes out.

    - grammar: what the other modules share of RFC 3261 section 25, and the
      two findings, L{MalformedField<sipxha.sip.grammar.MalformedField>} and
      L{UnsafeValue<sipxha.sip.grammar.UnsafeValue>}
    - names: long, compact and printed names of header fields
    - params: an ordered C{;name=value} list
    - uri, address, via, cseq, auth_fields: one kind of value each
    - fields: the header lines of a message, as they came
    - values: what is read of those, and kept
    - message: requests and responses
    - response: the answer to a request
    - outline: the parts that every element needs of every message, in one go
    - check: what every element must refuse
    - stamp: where a request came from, noted in its Via
    - limits: how much one message may be
    - parser: a datagram becomes a message
    - framing: a byte stream becomes messages
    - status, ids: reason phrases; branches, tags and Call-IDs from a mint
    - seal: by which our servers know again what they wrote into a message
    - hop: where messages go to and come from

Text is C{str} decoded with C{("utf-8", "surrogateescape")}, so that every
byte comes out as it went in; bodies are bytes.  Nothing here knows a
transaction, a socket or a clock.
"""
