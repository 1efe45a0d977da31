-- Version 1. `idem` stands for the name of the schema.

-- The server's clock. When it is set back, time goes on from where it was: `ahead` grows.
CREATE TABLE idem.clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    told timestamptz NOT NULL DEFAULT '-infinity',
    ahead interval NOT NULL DEFAULT '0'
);
INSERT INTO idem.clock DEFAULT VALUES;

CREATE FUNCTION idem.server_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS $$ SELECT clock_timestamp() $$;

-- Frequent statements have its expression: PostgreSQL plans a function with a subquery each time.
CREATE FUNCTION idem.time() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS $$ SELECT idem.server_clock() + (SELECT ahead FROM idem.clock) $$;

-- The processes that hold claims. A row of a dead one is kept until none of its claims is left.
CREATE TABLE idem.runner (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    -- The end of its lease.
    until timestamptz NOT NULL,
    -- No claim that it holds has a smaller number.
    oldest bigint NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    died_at timestamptz,
    -- Whether none of its claims is left.
    swept boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The last number that was reserved: versions of rows, and fencing tokens.
CREATE TABLE idem.number (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    last bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO idem.number DEFAULT VALUES;

-- One row for each key, never partitioned: nothing but the primary key keeps a key unique.
CREATE TABLE idem.record (
    -- The hash of handler and key.
    id bytea PRIMARY KEY,
    version bigint NOT NULL,
    -- The runner that holds the running claim.
    owner bigint,
    -- The number of the last claim.
    claimed bigint,
    -- When the sweep looks at the row. It may be earlier than `due`.
    bucket timestamptz,
    -- When time alone may change the record.
    due timestamptz,
    live boolean NOT NULL,
    handler text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    record bytea
) WITH (
    -- Room for the result beside the claim. A completion changes no indexed column, so that it is a
    -- heap-only update.
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000
);
ALTER TABLE idem.record ALTER record SET STORAGE EXTERNAL;
CREATE INDEX record_bucket ON idem.record (bucket) WHERE bucket IS NOT NULL;
CREATE INDEX record_claimed ON idem.record (claimed) WHERE claimed IS NOT NULL;

-- In texts of letters, `\0` stands for a NUL and `\\` for a backslash.
CREATE TABLE idem.letter (
    id uuid PRIMARY KEY,
    handler text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('open', 'redriven', 'discarded')),
    reason text NOT NULL,
    attempts integer NOT NULL,
    -- Of the last attempt.
    error text,
    first_seen timestamptz NOT NULL,
    died_at timestamptz NOT NULL,
    closed_at timestamptz,
    closed_why text,
    payload text NOT NULL,
    -- All of it, as idem reads it.
    letter bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX letter_open ON idem.letter (id) WHERE state = 'open';
-- An entry of an index has 2,700 bytes at most, and keys may be longer.
CREATE INDEX letter_handler ON idem.letter (left(handler, 200), state, id);
CREATE INDEX letter_key ON idem.letter (left(key, 200), id);
CREATE INDEX letter_closed ON idem.letter (closed_at) WHERE closed_at IS NOT NULL;

-- Notes: the outbox, issued keys' lists, alerts, jobs and whatever else idem's crates keep.
CREATE TABLE idem.note (
    key bytea PRIMARY KEY,
    value bytea NOT NULL,
    -- The number in the key, if it was given one.
    number bigint
) WITH (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_limit = 2000
);
CREATE SEQUENCE idem.note_number;

-- Writers of numbered notes share a lock until they commit. A reader that has had it alone knows that
-- no smaller number will become readable.
CREATE FUNCTION idem.note_lock() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT (1768187245::bigint << 32) + 'idem.note_number'::regclass::oid::bigint $$;

CREATE FUNCTION idem.next_note_number() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(idem.note_lock());
    RETURN nextval('idem.note_number');
END $$;

-- While it waits, no writer gets the lock: not for long, if one of them stands still.
CREATE FUNCTION idem.settled_note_number() RETURNS bigint LANGUAGE plpgsql VOLATILE
    SET lock_timeout = '1s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(idem.note_lock());
    RETURN (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM idem.note_number);
END $$;

-- Sees to it that the numbers to come are larger.
CREATE FUNCTION idem.raise_note_number(above bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(idem.note_lock());
    RETURN (SELECT setval('idem.note_number', greatest(last_value, above)) FROM idem.note_number);
END $$;

-- What people look at.
CREATE VIEW idem.records AS
    SELECT r.handler, r.key,
        CASE
            WHEN r.record IS NULL THEN 'removed'
            WHEN r.live AND r.owner IS NOT NULL THEN 'running'
            WHEN r.live THEN 'waiting'
            WHEN r.due IS NULL THEN 'dead'
            ELSE 'settled'
        END AS state,
        o.name AS runner, r.due, r.version
    FROM idem.record AS r LEFT JOIN idem.runner AS o ON o.id = r.owner;

CREATE VIEW idem.notes AS
    SELECT convert_from(key, 'UTF8') AS key, value, number FROM idem.note;

-- The server's identity, as it was seen last. Another timeline says that a replica was promoted, or
-- that a backup was restored.
CREATE TABLE idem.server (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system text NOT NULL,
    timeline text NOT NULL,
    -- When it was last seen to have changed.
    changed_at timestamptz
);
