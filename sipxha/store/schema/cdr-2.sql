-- What reports ask of a call beyond sipX's columns.  call_direction has been
-- there since version 1, and is filled from now on.

ALTER TABLE cdrs
    ADD COLUMN IF NOT EXISTS hung_up_by       text,
    ADD COLUMN IF NOT EXISTS caller_transport text,
    ADD COLUMN IF NOT EXISTS callee_transport text,
    ADD COLUMN IF NOT EXISTS call_type        text;

-- The calls that ended, with all that a report may show of them.  Columns are
-- only added, at the end.
CREATE OR REPLACE VIEW view_calls AS
SELECT id, call_id, caller_aor, callee_aor, start_time, connect_time, end_time,
       coalesce(connect_time, end_time) - start_time AS ring_time,
       end_time - connect_time AS duration,
       termination, failure_status, failure_reason, hung_up_by, call_direction, call_type,
       caller_contact, callee_contact, caller_transport, callee_transport,
       caller_internal, callee_route, reference
  FROM cdrs
 WHERE termination IN ('C', 'F', 'T', 'U', 'A');
