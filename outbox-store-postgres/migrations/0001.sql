-- The outbox on PostgreSQL. A producer in any language inserts into outbox_events; the other tables
-- belong to the relay. docs/postgres-schema.md describes each column.

-- A log: rows are inserted, read, and deleted after they were consumed. They are never updated.
-- xid: with a snapshot it shows whether the row was committed when the snapshot was taken. The column is
-- before seq, so a transaction gets its id before its rows get their numbers, and the sequence gives numbers
-- one by one. So a transaction that got its id after a row was visible has only rows with a greater seq.
-- Each later statement accepts a row that the log accepts. The error for a refused row names the limit.
CREATE TABLE outbox.outbox_events (
    xid               xid8        NOT NULL DEFAULT pg_current_xact_id(),
    seq               bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    id                uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    available_at      timestamptz,
    replays           integer     NOT NULL DEFAULT 0,
    event_type        text        NOT NULL,
    content_type      text        NOT NULL DEFAULT 'application/json',
    ordering_key      text,
    idempotency_token text,
    headers           json,
    payload           bytea       NOT NULL,
    CONSTRAINT event_type_is_1_to_1024_bytes
        CHECK (octet_length(event_type) BETWEEN 1 AND 1024),
    CONSTRAINT content_type_is_1_to_1024_bytes
        CHECK (octet_length(content_type) BETWEEN 1 AND 1024),
    CONSTRAINT ordering_key_is_at_most_8192_bytes
        CHECK (octet_length(ordering_key) <= 8192),
    CONSTRAINT idempotency_token_is_at_most_1024_bytes
        CHECK (octet_length(idempotency_token) <= 1024),
    CONSTRAINT headers_are_a_json_object
        CHECK (json_typeof(headers) = 'object'),
    -- 1 MiB of names and values, and what JSON adds to them.
    CONSTRAINT headers_are_at_most_9_mib_of_json
        CHECK (octet_length(headers::text) <= 9437184),
    CONSTRAINT payload_is_at_most_1000000000_bytes
        CHECK (octet_length(payload) <= 1000000000),
    -- A time outside of these years is mostly a number in another unit.
    CONSTRAINT created_at_is_in_the_years_1980_to_9999
        CHECK (created_at >= '1980-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT available_at_is_in_the_years_1980_to_9999
        CHECK (available_at >= '1980-01-01 00:00:00+00' AND available_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT replays_is_0_to_1000000000
        CHECK (replays BETWEEN 0 AND 1000000000)
);

-- The log with the lane of each event: those of one ordering key share a lane, and a claim reads a
-- lane as a whole. A generated column would make an insert a sixth slower.
CREATE VIEW outbox.outbox_log AS
SELECT (CASE WHEN ordering_key IS NULL THEN uuid_hash_extended(id, 0)
             ELSE hashtextextended(ordering_key, 0) END & 15)::smallint AS lane, *
FROM outbox.outbox_events;

-- A lane is read in the order of its rows. Each index makes an insert slower, so the log has only this one
-- and its primary key. No two entries are equal, so a full page is not searched for duplicates.
CREATE INDEX outbox_events_in_order ON outbox.outbox_events
    (((CASE WHEN ordering_key IS NULL THEN uuid_hash_extended(id, 0)
            ELSE hashtextextended(ordering_key, 0) END & 15)::smallint), seq)
    WITH (deduplicate_items = off);

-- Consumed rows are deleted soon and new rows come, so vacuum and analyze often.
ALTER TABLE outbox.outbox_events SET (autovacuum_vacuum_scale_factor = 0,
                                      autovacuum_vacuum_threshold = 10000,
                                      autovacuum_vacuum_cost_delay = 0);

-- Tokens outlive their events, so that a token stays taken after its event was published.
CREATE TABLE outbox.outbox_tokens (
    token      text        PRIMARY KEY,
    event_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX outbox_tokens_by_age ON outbox.outbox_tokens (created_at);

-- The position up to which each lane was claimed. All rows that seen sees are claimed; top is the last.
-- window_end is set while a window is read: the rows that it sees and seen does not, of which those
-- up to position are claimed. seen_xid and window_xid are the transactions that took the snapshots: a
-- larger transaction id was assigned later. (Comparing an id with a snapshot's xmax does not prove that.)
-- token, leased_until, reads and held belong to the claim that has the lane. It has the next rows of the
-- window, as many as reads says, and the rows of outbox_retries whose places are in held. turn is the
-- transaction that changed the row last: the lane with the oldest turn is the next, and a statement
-- sees whether its snapshot has the newest state. epoch grows with the transaction ids: see outbox_newest.
CREATE TABLE outbox.outbox_lanes (
    lane         smallint    NOT NULL,
    reads        integer     NOT NULL DEFAULT 0,
    turn         xid8        NOT NULL DEFAULT '0',
    position     bigint      NOT NULL DEFAULT 0,
    top          bigint      NOT NULL DEFAULT 0,
    leased_until timestamptz,
    token        uuid,
    seen_xid     xid8        NOT NULL DEFAULT '0',
    window_xid   xid8,
    seen         pg_snapshot NOT NULL DEFAULT '1:1:',
    window_end   pg_snapshot,
    held         bigint[],
    epoch        bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

-- Returns its argument. As this seems to be expensive, the server always finds the lanes by the index,
-- in which the result is stored. Statistics of such a small table are wrong soon.
CREATE FUNCTION outbox.outbox_indexed(lane smallint) RETURNS smallint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000 AS 'BEGIN RETURN lane; END';

CREATE UNIQUE INDEX outbox_lanes_by_epoch ON outbox.outbox_lanes
    (outbox.outbox_indexed(lane), epoch);

-- The newest state of each lane, as the statement's snapshot sees it. While a transaction stays open, the
-- server keeps all states of a lane since it began. Each claim gives its lanes the epoch of its transaction
-- id, which changes after 256 transactions. So in the order of the index, at most a few hundred states come
-- before the newest that is visible. (With an epoch for each claim, each would add to the index.)
CREATE VIEW outbox.outbox_newest AS
SELECT l.*
FROM generate_series(0, 15) AS n (lane)
CROSS JOIN LATERAL (
    SELECT * FROM outbox.outbox_lanes AS l
    WHERE outbox.outbox_indexed(l.lane) = n.lane
    ORDER BY l.epoch DESC
    LIMIT 1
) AS l;

INSERT INTO outbox.outbox_lanes (lane) SELECT generate_series(0, 15);

-- All rows of the transaction xid, and of transactions with a larger id, come after seq.
CREATE TABLE outbox.outbox_marks (
    xid xid8   PRIMARY KEY,
    seq bigint NOT NULL
);

-- The lanes, and the seq after which the unclaimed rows of each come. That is top; or, if one of the
-- transactions that were open when seen was taken may have ended since, the mark of the oldest of them.
CREATE VIEW outbox.outbox_unread AS
SELECT l.*,
       CASE WHEN late.xid IS NULL THEN l.top
            ELSE least(l.top, coalesce((SELECT m.seq FROM outbox.outbox_marks AS m
                                        WHERE m.xid <= late.xid ORDER BY m.xid DESC LIMIT 1), 0))
       END AS begin
FROM outbox.outbox_newest AS l
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT open FROM pg_snapshot_xip(l.seen) AS open
                     WHERE pg_visible_in_snapshot(open, pg_current_snapshot())
                     ORDER BY open LIMIT 1),
                    CASE WHEN pg_snapshot_xmax(l.seen) < l.seen_xid
                         THEN pg_snapshot_xmax(l.seen) END) AS xid
) AS late;

-- The server on which the snapshots were last checked against the log: its cluster, the start of its
-- server process, and the file of the log's sequence. In another cluster (a restored dump, a replica
-- that took over) the transaction numbers mean nothing. A sequence that was restarted has another file.
CREATE TABLE outbox.outbox_origin (
    one               boolean     PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint      NOT NULL,
    server_started    timestamptz NOT NULL,
    sequence_file     oid         NOT NULL
);

INSERT INTO outbox.outbox_origin (system_identifier, server_started, sequence_file)
SELECT c.system_identifier, pg_postmaster_start_time(), pg_relation_filenode(s.tableoid)
FROM pg_control_system() AS c, outbox.outbox_events_seq_seq AS s;

-- One row, with the last number of the log's sequence, if this server is the one that was checked; no row
-- otherwise. Each statement that relies on a snapshot reads it, such as a claim or a clean-up. That takes
-- a few microseconds, and is valid for every connection and proxy that the statement may use.
CREATE VIEW outbox.outbox_home AS
SELECT s.last_value
FROM outbox.outbox_origin AS o, outbox.outbox_events_seq_seq AS s
WHERE o.server_started = pg_postmaster_start_time()
  AND o.sequence_file = pg_relation_filenode(s.tableoid);

-- The retries: events that failed, that are not due yet, or that wait for an earlier event of their key.
-- place is their order in the key. Only the first event of a key has a due_at, and none has it while a
-- dead letter blocks the key. delayed_until: the time that its last attempt or release asked for, which
-- counts once it is the first. suspect: it was in a claim whose worker was lost. worker_lost: it was
-- alone in that claim. held_for: the destination for which it is held. kept_by: the claim that has it
-- although the lane is free (S22). It is not due before the end of the lease, and then it is claimed as a
-- suspect.
CREATE TABLE outbox.outbox_retries (
    place             bigint      PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    id                uuid        NOT NULL,
    created_at        timestamptz NOT NULL,
    available_at      timestamptz,
    due_at            timestamptz,
    delayed_until     timestamptz,
    attempts          bigint      NOT NULL DEFAULT 0,
    replays           integer     NOT NULL,
    lane              smallint    NOT NULL,
    suspect           boolean     NOT NULL DEFAULT false,
    worker_lost       boolean     NOT NULL DEFAULT false,
    event_type        text        NOT NULL,
    content_type      text        NOT NULL,
    ordering_key      text,
    idempotency_token text,
    held_for          text,
    kept_by           uuid,
    headers           json,
    payload           bytea       NOT NULL,
    CHECK (ordering_key IS NOT NULL OR due_at IS NOT NULL)
);

CREATE INDEX outbox_retries_due ON outbox.outbox_retries (lane, due_at)
    WHERE due_at IS NOT NULL AND NOT suspect;
CREATE INDEX outbox_retries_suspect ON outbox.outbox_retries (lane, due_at)
    WHERE due_at IS NOT NULL AND suspect;
-- By the hash of the key, because an index entry has at most 2704 bytes.
CREATE INDEX outbox_retries_by_key ON outbox.outbox_retries
    (hashtextextended(ordering_key, 0), place)
    WHERE ordering_key IS NOT NULL;
CREATE INDEX outbox_retries_by_id ON outbox.outbox_retries (id);
CREATE INDEX outbox_retries_held ON outbox.outbox_retries
    (held_for, coalesce(due_at, delayed_until), place)
    WHERE held_for IS NOT NULL;

-- The quarantine. position grows with each new dead letter, for paging. holds: it blocks its key.
CREATE TABLE outbox.outbox_dead_letters (
    position          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    place             bigint      NOT NULL,
    id                uuid        NOT NULL UNIQUE,
    created_at        timestamptz NOT NULL,
    available_at      timestamptz,
    first_failed_at   timestamptz NOT NULL,
    last_failed_at    timestamptz NOT NULL,
    quarantined_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    failure_count     bigint      NOT NULL,
    replays           integer     NOT NULL,
    lane              smallint    NOT NULL,
    holds             boolean     NOT NULL DEFAULT false,
    event_type        text        NOT NULL,
    content_type      text        NOT NULL,
    ordering_key      text,
    idempotency_token text,
    last_error        text,
    headers           json,
    payload           bytea       NOT NULL
);

-- The dead letters that block their key: its events at later places wait until the dead letter is gone.
CREATE INDEX outbox_dead_letters_holding ON outbox.outbox_dead_letters
    (hashtextextended(ordering_key, 0), place)
    WHERE holds;

-- The time until which inserts send a NOTIFY, because a worker sleeps, in seconds since 1970. It is a
-- sequence, not a row: a change takes effect at once for every transaction, and reading it is cheap.
CREATE SEQUENCE outbox.outbox_alarm;
GRANT SELECT ON SEQUENCE outbox.outbox_alarm TO PUBLIC;

-- The same event may take its token again (a replay); another event is refused. The insert waits for an
-- open transaction that has taken the same token.
CREATE FUNCTION outbox.outbox_take_token() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $outbox$
BEGIN
    INSERT INTO outbox.outbox_tokens AS taken (token, event_id)
    VALUES (NEW.idempotency_token, NEW.id)
    ON CONFLICT (token) DO UPDATE SET event_id = taken.event_id
        WHERE taken.event_id = NEW.id;
    IF NOT FOUND THEN
        RAISE unique_violation USING
            MESSAGE = 'outbox: duplicate idempotency token',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = 'outbox_tokens_pkey';
    END IF;
    RETURN NULL;
END $outbox$;

CREATE TRIGGER outbox_events_token AFTER INSERT ON outbox.outbox_events
FOR EACH ROW WHEN (NEW.idempotency_token IS NOT NULL)
EXECUTE FUNCTION outbox.outbox_take_token();

-- An update by hand can move an event to another lane, whose cursor may have passed its row already.
-- So an event whose key or id is changed is appended again. A consumed event stays consumed, because
-- every snapshot sees the transaction 0.
CREATE FUNCTION outbox.outbox_move_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $outbox$
BEGIN
    IF EXISTS (SELECT FROM outbox.outbox_lanes AS l
               WHERE l.lane = (CASE WHEN OLD.ordering_key IS NULL THEN uuid_hash_extended(OLD.id, 0)
                                    ELSE hashtextextended(OLD.ordering_key, 0) END & 15)
                 AND (pg_visible_in_snapshot(OLD.xid, l.seen)
                      OR coalesce(pg_visible_in_snapshot(OLD.xid, l.window_end), false)
                         AND OLD.seq <= l.position)) THEN
        NEW.xid := '0';
    ELSE
        NEW.xid := pg_current_xact_id();
        NEW.seq := (SELECT nextval(s.tableoid::regclass) FROM outbox.outbox_events_seq_seq AS s);
    END IF;
    RETURN NEW;
END $outbox$;

CREATE TRIGGER outbox_events_move BEFORE UPDATE OF id, ordering_key ON outbox.outbox_events
FOR EACH ROW WHEN (NEW.xid = OLD.xid AND (NEW.id <> OLD.id
                                          OR NEW.ordering_key IS DISTINCT FROM OLD.ordering_key))
EXECUTE FUNCTION outbox.outbox_move_event();

-- The same for an event that waits: it becomes the last of its new key. No claim has it any more.
CREATE FUNCTION outbox.outbox_move_retry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $outbox$
BEGIN
    NEW.lane := CASE WHEN NEW.ordering_key IS NULL THEN uuid_hash_extended(NEW.id, 0)
                     ELSE hashtextextended(NEW.ordering_key, 0) END & 15;
    NEW.place := (SELECT nextval(s.tableoid::regclass) FROM outbox.outbox_retries_place_seq AS s);
    NEW.kept_by := NULL;
    NEW.due_at := CASE WHEN NOT EXISTS (SELECT FROM outbox.outbox_retries AS r
                                        WHERE hashtextextended(r.ordering_key, 0)
                                              = hashtextextended(NEW.ordering_key, 0)
                                          AND r.ordering_key = NEW.ordering_key)
                        AND NOT EXISTS (SELECT FROM outbox.outbox_dead_letters AS d
                                        WHERE hashtextextended(d.ordering_key, 0)
                                              = hashtextextended(NEW.ordering_key, 0)
                                          AND d.ordering_key = NEW.ordering_key AND d.holds)
                       THEN greatest(now(), NEW.available_at, NEW.delayed_until) END;
    RETURN NEW;
END $outbox$;

CREATE TRIGGER outbox_retries_move BEFORE UPDATE OF id, ordering_key ON outbox.outbox_retries
FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.ordering_key IS DISTINCT FROM OLD.ordering_key)
EXECUTE FUNCTION outbox.outbox_move_retry();

-- xid and seq are the position of a row, so the table must assign them. A row with other values would be
-- skipped, and deleted unread. The trigger below calls this only for a row whose values are not the last
-- that its session was given, such as all rows of a COPY except the last.
CREATE FUNCTION outbox.outbox_check_place() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $outbox$
BEGIN
    IF current_setting('outbox.renewing', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF NEW.xid <> pg_current_xact_id() THEN
        RAISE check_violation USING
            MESSAGE = format('outbox: xid is %s, but must be left to its default', NEW.xid),
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'xid';
    END IF;
    IF NEW.seq > (SELECT last_value FROM outbox.outbox_events_seq_seq)
       OR EXISTS (SELECT FROM outbox.outbox_newest AS l, outbox.outbox_home
                  WHERE NEW.seq <= l.top AND l.seen_xid <= NEW.xid) THEN
        RAISE check_violation USING
            MESSAGE = format('outbox: seq is %s, but must be left to its default', NEW.seq),
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'seq';
    END IF;
    RETURN NULL;
END $outbox$;

-- One row for each transaction that may be prepared and has inserted events. Its end deletes the row.
CREATE UNLOGGED TABLE outbox.outbox_rings (
    xid     xid8 PRIMARY KEY,
    channel text NOT NULL
);

-- Runs at the end of the transaction, where the current statement shows what ends it. PREPARE TRANSACTION
-- refuses a transaction that has sent a NOTIFY, so its events are found by the next poll. SET CONSTRAINTS
-- can call this before the end: then the statement is neither a commit nor a separate transaction.
CREATE FUNCTION outbox.outbox_ring() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $outbox$
BEGIN
    DELETE FROM outbox.outbox_rings WHERE xid = NEW.xid;
    IF current_query() !~* '\mprepare\s+transaction\M'
       AND (current_query() ~* '\m(commit|end|call|do)\M'
            OR transaction_timestamp() = statement_timestamp())
       AND pg_notification_queue_usage() < 0.5
    THEN
        PERFORM pg_notify(NEW.channel, '');
    END IF;
    RETURN NULL;
END $outbox$;

CREATE CONSTRAINT TRIGGER outbox_rings_end AFTER INSERT ON outbox.outbox_rings
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outbox.outbox_ring();

-- Runs once per statement, and only reads the alarm while no worker sleeps, because commits that send a
-- NOTIFY wait for each other. It never fails a producer: it needs no privilege of the producer, and
-- ignores a missing alarm. It sends nothing while the notification queue is half full, because a full
-- queue refuses commits. Where transactions can be prepared, it leaves the NOTIFY to outbox_ring. The
-- functions are created here so that their text has the names of the sequences.
DO $outbox$
DECLARE
    schema text := (SELECT quote_ident(n.nspname)
                    FROM pg_catalog.pg_class AS c
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE c.oid = (SELECT tableoid FROM outbox.outbox_alarm));
    alarm text := quote_literal(schema || '.outbox_alarm');
    numbers text := quote_literal(schema || '.outbox_events_seq_seq') || '::pg_catalog.regclass';
BEGIN
    EXECUTE $function$
        CREATE FUNCTION outbox.outbox_wake() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER AS $wake$
        BEGIN
            IF pg_catalog.pg_sequence_last_value(
                   pg_catalog.to_regclass($function$ || alarm || $function$))
               OPERATOR(pg_catalog.>) pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())
            THEN
                IF pg_catalog.current_setting('max_prepared_transactions')
                   OPERATOR(pg_catalog.<>) '0'
                THEN
                    BEGIN
                        INSERT INTO outbox.outbox_rings (xid, channel)
                        VALUES (pg_catalog.pg_current_xact_id(),
                                pg_catalog.concat('outbox_', TG_RELID))
                        ON CONFLICT DO NOTHING;
                    EXCEPTION WHEN OTHERS THEN
                        NULL; -- The next look finds the event.
                    END;
                ELSIF pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5 THEN
                    PERFORM pg_catalog.pg_notify(pg_catalog.concat('outbox_', TG_RELID), '');
                END IF;
            END IF;
            RETURN NULL;
        END $wake$ $function$;
    EXECUTE $trigger$
        CREATE TRIGGER outbox_events_place AFTER INSERT ON outbox.outbox_events
        FOR EACH ROW WHEN (
            NEW.xid <> pg_catalog.pg_current_xact_id()
            OR NEW.seq > pg_catalog.pg_sequence_last_value($trigger$ || numbers || $trigger$)
            OR NEW.seq <> pg_catalog.currval($trigger$ || numbers || $trigger$))
        EXECUTE FUNCTION outbox.outbox_check_place() $trigger$;
END $outbox$;

-- So that the trigger can read which number the session of a producer was given.
GRANT SELECT ON SEQUENCE outbox.outbox_events_seq_seq TO PUBLIC;

CREATE TRIGGER outbox_events_wake AFTER INSERT ON outbox.outbox_events
FOR EACH STATEMENT EXECUTE FUNCTION outbox.outbox_wake();

-- While a transaction stays open, vacuum keeps all rows that were deleted or updated since it started.
-- These two functions move the live rows of a table into an empty one, because only a TRUNCATE frees the
-- room. They wait for the lock of the table only briefly, because others wait for them, and then fail.
CREATE FUNCTION outbox.outbox_renew_lanes() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms'
AS $outbox$
DECLARE
    kept outbox.outbox_lanes[];
BEGIN
    LOCK TABLE outbox.outbox_lanes IN ACCESS EXCLUSIVE MODE;
    kept := ARRAY(SELECT l FROM outbox.outbox_lanes AS l);
    TRUNCATE outbox.outbox_lanes;
    INSERT INTO outbox.outbox_lanes SELECT * FROM unnest(kept);
    RETURN true;
END $outbox$;

-- No open transaction has rows in the table, because it would have a lock. Returns false, and changes
-- nothing, if more than a few rows are unread.
CREATE FUNCTION outbox.outbox_renew_events() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '20ms'
AS $outbox$
DECLARE
    most CONSTANT integer := 1000;
    most_bytes CONSTANT integer := 4000000;
    locked boolean;
    unread uuid[];
    kept outbox.outbox_events[];
BEGIN
    -- The snapshots of the lanes show which rows are unread, on the server that they belong to.
    IF (SELECT count(*) FROM outbox.outbox_newest, outbox.outbox_home WHERE top <= last_value) < 16 THEN
        RETURN false;
    END IF;
    FOREACH locked IN ARRAY ARRAY[false, true] LOOP
        IF locked THEN
            LOCK TABLE outbox.outbox_events IN ACCESS EXCLUSIVE MODE;
        END IF;
        unread := ARRAY(
            SELECT e.id
            FROM outbox.outbox_unread AS l
            CROSS JOIN LATERAL (
                SELECT e.id
                FROM outbox.outbox_log AS e
                WHERE e.lane = l.lane AND e.seq > l.begin
                  AND NOT pg_visible_in_snapshot(e.xid, l.seen)
                  AND NOT (coalesce(pg_visible_in_snapshot(e.xid, l.window_end), false)
                           AND e.seq <= l.position)
                ORDER BY e.seq
                LIMIT most + 1
            ) AS e
            LIMIT most + 1);
        IF cardinality(unread) > most
           OR (SELECT sum(octet_length(payload)) FROM outbox.outbox_events
               WHERE id = ANY (unread)) > most_bytes THEN
            RETURN false;
        END IF;
    END LOOP;
    kept := ARRAY(SELECT e FROM outbox.outbox_events AS e WHERE id = ANY (unread));
    TRUNCATE outbox.outbox_events;
    -- The rows keep their positions. outbox_check_place compares them with a number of this session.
    PERFORM set_config('outbox.renewing', 'on', true), nextval(s.tableoid)
    FROM outbox.outbox_events_seq_seq AS s;
    INSERT INTO outbox.outbox_events
           (xid, seq, id, created_at, available_at, replays, event_type, content_type, ordering_key,
            idempotency_token, headers, payload)
    OVERRIDING SYSTEM VALUE
    SELECT xid, seq, id, created_at, available_at, replays, event_type, content_type, ordering_key,
           idempotency_token, headers, payload
    FROM unnest(kept);
    RETURN true;
END $outbox$;

-- The functions run with the privileges of their owner. So no other role may use the trigger functions on
-- its own tables, or block the producers with the other functions.
REVOKE ALL ON FUNCTION outbox.outbox_take_token(), outbox.outbox_move_event(),
                       outbox.outbox_move_retry(), outbox.outbox_check_place(),
                       outbox.outbox_ring(), outbox.outbox_wake(), outbox.outbox_renew_lanes(),
                       outbox.outbox_renew_events() FROM PUBLIC;
