-- Call detail records, column for column as sipX has had them since its version 7,
-- because reports name the columns; ours stand at the end.  Runs on an empty
-- database and on sipX's own.

CREATE TABLE IF NOT EXISTS version_history (
    version int4 PRIMARY KEY,
    applied date
);

CREATE TABLE IF NOT EXISTS cdrs (
    id              bigserial PRIMARY KEY,
    call_id         text NOT NULL CONSTRAINT cdrs_call_id_unique UNIQUE,
    from_tag        text NOT NULL,
    to_tag          text NOT NULL,
    caller_aor      text NOT NULL,
    callee_aor      text NOT NULL,
    start_time      timestamp,
    connect_time    timestamp,
    end_time        timestamp,
    termination     char(1),
    failure_status  int2,
    failure_reason  text,
    call_direction  char(1),
    reference       text,
    caller_contact  text,
    callee_contact  text,
    caller_internal boolean,
    callee_route    text
);

-- sipX's version 5.
ALTER TABLE cdrs
    ADD COLUMN IF NOT EXISTS reference       text,
    ADD COLUMN IF NOT EXISTS caller_contact  text,
    ADD COLUMN IF NOT EXISTS callee_contact  text,
    ADD COLUMN IF NOT EXISTS caller_internal boolean,
    ADD COLUMN IF NOT EXISTS callee_route    text;

-- Of how many events a record was made, and, where only time decided, the
-- moment that all hosts had been read to.
ALTER TABLE cdrs
    ADD COLUMN IF NOT EXISTS events int4,
    ADD COLUMN IF NOT EXISTS as_of  timestamp;

CREATE INDEX IF NOT EXISTS cdrs_start_time_idx ON cdrs (start_time);

CREATE OR REPLACE VIEW view_cdrs AS
SELECT id, caller_aor, callee_aor, start_time, connect_time, end_time,
       end_time - connect_time AS duration,
       termination, failure_status, failure_reason, call_direction
  FROM cdrs
 WHERE termination IN ('C', 'F', 'T', 'U', 'A');

-- How far each host's call_state_events have been read: written in the
-- transaction that writes the records.  A gap is an id that was not there when a
-- later one was: it may still be committed.
CREATE TABLE IF NOT EXISTS resolver_positions (
    host    text PRIMARY KEY,
    last_id int8 NOT NULL,
    mark    text,
    read_to timestamp,
    gaps    int8[] NOT NULL DEFAULT '{}',
    changed timestamptz NOT NULL DEFAULT now()
);

-- The events of calls that may yet change: still open, just ended, or of a time
-- that some host has not been read to.  Late ones belong to records whose other
-- events are no longer here and could not be looked up yet.
CREATE TABLE IF NOT EXISTS resolver_events (
    call_id text NOT NULL,
    is_late boolean NOT NULL,
    event   json NOT NULL
);

CREATE INDEX IF NOT EXISTS resolver_events_call_id ON resolver_events USING hash (call_id);

-- Events that cannot be used, for people to look at.
CREATE TABLE IF NOT EXISTS resolver_dead_letters (
    host     text NOT NULL,
    event_id int8 NOT NULL,
    call_id  text NOT NULL,
    reason   text NOT NULL,
    event    json NOT NULL,
    noted    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host, event_id)
);

INSERT INTO version_history (version, applied) VALUES (7, current_date) ON CONFLICT DO NOTHING;
