-- Call state events, column for column as sipX has had them since its version 7,
-- because writers insert by position and reports name the columns.  New columns
-- go at the end, in a new file.  Runs on an empty database and on sipX's own.

CREATE TABLE IF NOT EXISTS version_history (
    version int4 PRIMARY KEY,
    applied date
);

CREATE TABLE IF NOT EXISTS call_state_events (
    id              bigserial PRIMARY KEY,
    observer        text NOT NULL,
    event_seq       int8 NOT NULL,
    event_time      timestamp NOT NULL,
    event_type      char(1) NOT NULL,
    cseq            int4 NOT NULL,
    call_id         text NOT NULL,
    from_tag        text,
    to_tag          text,
    from_url        text NOT NULL,
    to_url          text NOT NULL,
    contact         text,
    refer_to        text,
    referred_by     text,
    failure_status  int2,
    failure_reason  text,
    request_uri     text,
    reference       text,
    caller_internal boolean,
    callee_route    text,
    branch_id       text,
    via_count       int2
);

-- sipX's versions 2, 5 and 6.
ALTER TABLE call_state_events
    ADD COLUMN IF NOT EXISTS request_uri     text,
    ADD COLUMN IF NOT EXISTS reference       text,
    ADD COLUMN IF NOT EXISTS caller_internal boolean,
    ADD COLUMN IF NOT EXISTS callee_route    text,
    ADD COLUMN IF NOT EXISTS branch_id       text,
    ADD COLUMN IF NOT EXISTS via_count       int2;

CREATE INDEX IF NOT EXISTS call_state_events_event_time ON call_state_events (event_time);

-- By hash, because a btree refuses a Call-ID of more than 2,700 bytes.
CREATE INDEX IF NOT EXISTS call_state_events_call_id ON call_state_events USING hash (call_id);

CREATE TABLE IF NOT EXISTS observer_state_events (
    id         bigserial PRIMARY KEY,
    observer   text NOT NULL,
    event_seq  int8 NOT NULL,
    event_time timestamp NOT NULL,
    status     int2 NOT NULL,
    msg        text
);

-- How far each journal has been copied into the two tables above: written in
-- the transaction that copies, so that an event arrives exactly once.
CREATE TABLE IF NOT EXISTS journal_position (
    journal    text PRIMARY KEY,
    segment    int8 NOT NULL,
    "offset"   int8 NOT NULL,
    changed    timestamptz NOT NULL DEFAULT now()
);

INSERT INTO version_history (version, applied) VALUES (7, current_date) ON CONFLICT DO NOTHING;
