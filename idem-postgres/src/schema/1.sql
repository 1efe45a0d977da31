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
    -- When the message first came, while it waits for its next attempt.
    waiting timestamptz,
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
CREATE INDEX record_waiting ON idem.record (waiting) WHERE waiting IS NOT NULL;

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

-- Reads one row in the message that begins an attempt's transaction. The answer is text, whose form the
-- session may have set: so times are microseconds after 1970, and bytes hexadecimal digits. It is
-- planned as `write_rows` is.
CREATE FUNCTION idem.read_row(
    row_id bytea,
    OUT now bigint, OUT version bigint, OUT record text, OUT due bigint, OUT owner bigint,
    OUT name text, OUT until bigint, OUT dead boolean
) LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    SELECT extract(epoch FROM idem.server_clock() + c.ahead) * 1000000, r.version,
        E'\\x' || encode(r.record, 'hex'), extract(epoch FROM r.due) * 1000000, r.owner, o.name,
        extract(epoch FROM o.until) * 1000000, o.dead
        INTO now, version, record, due, owner, name, until, dead
        FROM idem.clock AS c
        LEFT JOIN idem.record AS r ON r.id = row_id
        LEFT JOIN idem.runner AS o ON o.id = r.owner
        WHERE c.one;
END $$;

-- The bucket of a row that is changed: the one that it has as often as it may be, so that the update is
-- heap-only.
CREATE FUNCTION idem.bucket(bucket timestamptz, due timestamptz, live boolean) RETURNS timestamptz
    LANGUAGE sql STABLE
    AS $$ SELECT CASE
        WHEN due IS NULL OR bucket <= due + CASE WHEN live THEN '0' ELSE '10 minutes' END::interval
        THEN bucket ELSE date_trunc('minute', due)
    END $$;

-- Writes rows in a runner's name, as store/one.rs does with one alone: arrays are matched by their
-- places. Nothing takes place if the runner is dead, if it comes later than `latest`, or if the body
-- ended the attempt's transaction that it is called in. How it is planned depends neither on the session
-- that calls it nor on how full a table is, and it is planned once for a session.
CREATE FUNCTION idem.write_rows(
    runner_name text, latest timestamptz, in_attempt boolean,
    row_ids bytea[], row_expected bigint[], row_versions bigint[], row_live boolean[],
    row_due timestamptz[], row_waiting timestamptz[], row_owned boolean[], row_handlers text[],
    row_keys text[], row_records bytea[],
    -- The versions of writes that are not made.
    not_made bigint[],
    OUT now timestamptz, OUT in_time boolean, OUT is_attempt boolean, OUT lives boolean,
    -- The writes that took place.
    OUT versions bigint[]
) LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    runner_id bigint;
    changed bigint[];
    ignored text;
BEGIN
    SELECT idem.server_clock() + ahead,
        (SELECT id FROM idem.runner WHERE name = runner_name AND NOT dead)
        INTO now, runner_id FROM idem.clock WHERE one;
    in_time := now <= latest;
    -- In two parts, because the schema's name takes the place of the prefix.
    is_attempt := current_setting('idem' || '.attempt', true) IS NOT DISTINCT FROM '1';
    lives := runner_id IS NOT NULL;
    versions := '{}';
    IF NOT lives OR NOT in_time OR (in_attempt AND NOT is_attempt) THEN
        RETURN;
    END IF;
    IF in_attempt THEN
        -- The commit must not come late.
        ignored := set_config('idle_in_transaction_session_timeout', '5000', true);
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        -- What was answered is durable.
        ignored := set_config('synchronous_commit', 'on', true);
    END IF;

    IF array_position(row_expected, NULL) IS NOT NULL THEN
        WITH added AS (
            INSERT INTO idem.record
                (id, version, owner, claimed, bucket, due, waiting, live, handler, key, record)
            SELECT w.id, w.version, CASE WHEN w.owned THEN runner_id END,
                CASE WHEN w.owned THEN w.version END, date_trunc('minute', w.due), w.due,
                w.waiting, w.live, w.handler, w.key, w.record
            FROM unnest(row_ids, row_expected, row_versions, row_live, row_due, row_waiting,
                    row_owned, row_handlers, row_keys, row_records)
                AS w (id, expected, version, live, due, waiting, owned, handler, key, record)
            WHERE w.expected IS NULL AND w.version <> ALL (not_made)
            ORDER BY w.id
            ON CONFLICT (id) DO NOTHING RETURNING version
        )
        SELECT coalesce(array_agg(version), '{}') INTO versions FROM added;
    END IF;
    IF cardinality(array_remove(row_expected, NULL)) > 0 THEN
        WITH changed AS (
            UPDATE idem.record AS r SET version = w.version,
                owner = CASE WHEN w.owned THEN runner_id END,
                claimed = CASE WHEN w.owned THEN w.version ELSE r.claimed END,
                bucket = idem.bucket(r.bucket, w.due, w.live),
                due = w.due, waiting = w.waiting, live = w.live, record = w.record
            FROM unnest(row_ids, row_expected, row_versions, row_live, row_due, row_waiting,
                    row_owned, row_records)
                AS w (id, expected, version, live, due, waiting, owned, record)
            WHERE r.id = ANY (row_ids) AND r.id = w.id AND r.version = w.expected
                AND w.version <> ALL (not_made)
            RETURNING r.version
        )
        SELECT array_agg(version) INTO changed FROM changed;
        versions := versions || changed;
    END IF;
END $$;

-- Writes rows with the letters and notes that belong to their versions. Where a letter has to exist and
-- does not, its row is not written.
CREATE FUNCTION idem.write_all(
    runner_name text, latest timestamptz, in_attempt boolean,
    row_ids bytea[], row_expected bigint[], row_versions bigint[], row_live boolean[],
    row_due timestamptz[], row_waiting timestamptz[], row_owned boolean[], row_handlers text[],
    row_keys text[], row_records bytea[],
    letter_versions bigint[], letter_ids uuid[], letter_new boolean[], letter_handlers text[],
    letter_keys text[], letter_states text[], letter_reasons text[], letter_attempts integer[],
    letter_errors text[], letter_first_seen timestamptz[], letter_died_at timestamptz[],
    letter_closed_at timestamptz[], letter_closed_why text[], letter_payloads text[],
    letters bytea[],
    note_versions bigint[], note_keys bytea[], note_values bytea[], note_numbered boolean[],
    OUT now timestamptz, OUT in_time boolean, OUT is_attempt boolean, OUT lives boolean,
    OUT versions bigint[]
) LANGUAGE plpgsql VOLATILE
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    without_letter bigint[];
BEGIN
    PERFORM FROM idem.letter WHERE id = ANY (letter_ids) ORDER BY id FOR UPDATE;
    without_letter := ARRAY (
        SELECT given.version
        FROM unnest(letter_versions, letter_ids, letter_new) AS given (version, id, is_new)
        WHERE NOT given.is_new
            AND NOT EXISTS (SELECT FROM idem.letter AS l WHERE l.id = given.id)
    );
    SELECT * INTO now, in_time, is_attempt, lives, versions
        FROM idem.write_rows(runner_name, latest, in_attempt, row_ids, row_expected, row_versions,
            row_live, row_due, row_waiting, row_owned, row_handlers, row_keys, row_records, without_letter);
    IF cardinality(versions) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO idem.letter (id, handler, key, state, reason, attempts, error, first_seen,
        died_at, closed_at, closed_why, payload, letter)
    SELECT id, handler, key, state, reason, attempts, error, first_seen, died_at, closed_at,
        closed_why, payload, letter
    FROM unnest(letter_versions, letter_ids, letter_handlers, letter_keys, letter_states,
            letter_reasons, letter_attempts, letter_errors, letter_first_seen, letter_died_at,
            letter_closed_at, letter_closed_why, letter_payloads, letters)
        AS given (version, id, handler, key, state, reason, attempts, error, first_seen,
            died_at, closed_at, closed_why, payload, letter)
    WHERE given.version = ANY (versions) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, closed_at = excluded.closed_at,
        closed_why = excluded.closed_why, payload = excluded.payload, letter = excluded.letter;
    WITH last_note AS MATERIALIZED (
        -- The last change of a key counts.
        SELECT DISTINCT ON (key, CASE WHEN numbered THEN place END) key, value, numbered, place
        FROM unnest(note_versions, note_keys, note_values, note_numbered)
            WITH ORDINALITY AS given (version, key, value, numbered, place)
        WHERE given.version = ANY (versions)
        ORDER BY key, CASE WHEN numbered THEN place END, place DESC
    ),
    note_numbered AS MATERIALIZED (
        SELECT key, value, idem.next_note_number() AS number
        FROM (SELECT key, value FROM last_note WHERE numbered ORDER BY place OFFSET 0) AS note
    ),
    note_deleted AS (
        DELETE FROM idem.note USING last_note
        WHERE note.key = ANY (note_keys) AND note.key = last_note.key
            AND last_note.value IS NULL
    )
    INSERT INTO idem.note (key, value, number)
    SELECT key, value, NULL FROM last_note WHERE NOT numbered AND value IS NOT NULL
    UNION ALL
    SELECT key || convert_to(lpad(to_hex(number), 16, '0'), 'UTF8'), value, number
    FROM note_numbered
    ORDER BY 1
    ON CONFLICT (key) DO UPDATE SET value = excluded.value;
END $$;

-- Breaks a transaction off whose last write was not made.
CREATE FUNCTION idem.overtaken() RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION 'idem: the attempt may not be recorded, so its transaction is not committed';
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
