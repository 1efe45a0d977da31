//! The statement of a batch.

/// The time of a statement, as its first part.
macro_rules! now {
    () => {
        "WITH now AS MATERIALIZED (
        SELECT idem.server_clock() + ahead AS now FROM idem.clock WHERE one
    )"
    };
}
pub(super) use now;

/// Returns the statement of a batch: with letters or notes, or without; in the transaction of an
/// attempt, or as a transaction of its own.
pub(super) fn batch(has_beside: bool, in_attempt: bool) -> &'static str {
    match (has_beside, in_attempt) {
        (false, false) => ROWS,
        (false, true) => ROWS_IN_ATTEMPT,
        (true, false) => ALL,
        (true, true) => ALL_IN_ATTEMPT,
    }
}

/// What comes before the rows: the time, the runner unless it is dead or the statement came late, and
/// the writes. Where letters have to exist, `$where` asks for them.
macro_rules! statement {
    ($attempt:literal, $settings:literal, $locked:literal, $where:literal, $beside:literal) => {
        concat!(
            now!(),
            ",
            runner AS MATERIALIZED (
                SELECT runner.id FROM idem.runner, now
                WHERE runner.name = $1 AND NOT runner.dead AND now.now <= $2",
            $attempt,
            "),",
            $locked,
            "w AS MATERIALIZED (
                SELECT w.*, CASE WHEN w.owned THEN runner.id END AS owner,
                    CASE WHEN w.owned THEN w.version END AS claimed,
                    date_trunc('minute', w.due) AS bucket
                FROM unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::boolean[],
                        $7::timestamptz[], $8::boolean[], $9::text[], $10::text[], $11::bytea[])
                    AS w (id, expected, version, live, due, owned, handler, key, record),
                    runner",
            $where,
            "),
            added AS (
                INSERT INTO idem.record
                    (id, version, owner, claimed, bucket, due, live, handler, key, record)
                SELECT id, version, owner, claimed, bucket, due, live, handler, key, record
                FROM w WHERE expected IS NULL ORDER BY id
                ON CONFLICT (id) DO NOTHING RETURNING version
            ),
            changed AS (
                UPDATE idem.record AS r SET version = w.version, owner = w.owner,
                    claimed = coalesce(w.claimed, r.claimed),
                    -- Unchanged as often as it may be, so that the update is heap-only.
                    bucket = CASE
                        WHEN w.due IS NULL OR r.bucket <=
                            w.due + CASE WHEN w.live THEN '0' ELSE '10 minutes' END::interval
                        THEN r.bucket ELSE w.bucket
                    END,
                    due = w.due, live = w.live, record = w.record
                FROM w WHERE r.id = ANY ($3) AND r.id = w.id AND r.version = w.expected
                RETURNING r.version
            ),
            done AS MATERIALIZED (
                SELECT version FROM added UNION ALL SELECT version FROM changed
            )",
            $beside,
            "SELECT now.now, now.now <= $2 AS in_time, EXISTS (SELECT FROM runner) AS lives,
                ARRAY (SELECT version FROM done) AS versions,
                -- In two parts, because the schema's name takes the place of the prefix.
                current_setting('idem' || '.attempt', true) IS NOT DISTINCT FROM '1' AS in_attempt,
                -- What was answered is durable.
                CASE current_setting('synchronous_commit') WHEN 'off'
                    THEN set_config('synchronous_commit', 'on', true) END",
            $settings,
            " FROM now"
        )
    };
}

/// Most batches have neither letters nor notes.
const ROWS: &str = statement!("", "", "", "", "");

/// The same in the transaction of an attempt, which the body must not have ended, and whose commit
/// must not come late.
const ROWS_IN_ATTEMPT: &str = statement!(
    " AND current_setting('idem' || '.attempt', true) = '1'",
    ", set_config('idle_in_transaction_session_timeout', '5000', true)",
    "",
    "",
    ""
);

macro_rules! with_letters_and_notes {
    ($attempt:literal, $settings:literal) => {
        statement!($attempt, $settings, "letter_there AS MATERIALIZED (
        SELECT letter.id FROM idem.letter WHERE letter.id = ANY ($13) FOR UPDATE
    ),
    letter AS MATERIALIZED (
        SELECT * FROM unnest($12::bigint[], $13::uuid[], $14::boolean[], $15::text[], $16::text[],
                $17::text[], $18::text[], $19::integer[], $20::text[], $21::timestamptz[],
                $22::timestamptz[], $23::timestamptz[], $24::text[], $25::text[], $26::bytea[])
            AS letter (version, id, is_new, handler, key, state, reason, attempts, error,
                first_seen, died_at, closed_at, closed_why, payload, letter)
    ),",
    " WHERE NOT EXISTS (
        SELECT FROM letter WHERE letter.version = w.version AND NOT letter.is_new
            AND letter.id NOT IN (SELECT letter_there.id FROM letter_there)
    )",
    ", letters AS (
        INSERT INTO idem.letter AS l (id, handler, key, state, reason, attempts, error, first_seen,
            died_at, closed_at, closed_why, payload, letter)
        SELECT id, handler, key, state, reason, attempts, error, first_seen, died_at, closed_at,
            closed_why, payload, letter
        FROM letter WHERE version IN (SELECT version FROM done) ORDER BY id
        ON CONFLICT (id) DO UPDATE SET state = excluded.state, closed_at = excluded.closed_at,
            closed_why = excluded.closed_why, payload = excluded.payload, letter = excluded.letter
    ),
    -- The last change of a key counts.
    last_note AS MATERIALIZED (
        SELECT DISTINCT ON (key, CASE WHEN numbered THEN place END) key, value, numbered, place
        FROM unnest($27::bigint[], $28::bytea[], $29::bytea[], $30::boolean[])
            WITH ORDINALITY AS note (version, key, value, numbered, place)
        WHERE version IN (SELECT version FROM done)
        ORDER BY key, CASE WHEN numbered THEN place END, place DESC
    ),
    note_numbered AS MATERIALIZED (
        SELECT key, value, idem.next_note_number() AS number
        FROM (SELECT key, value FROM last_note WHERE numbered ORDER BY place OFFSET 0) AS note
    ),
    note_put AS (
        INSERT INTO idem.note (key, value, number)
        SELECT key, value, NULL FROM last_note WHERE NOT numbered AND value IS NOT NULL
        UNION ALL
        SELECT key || convert_to(lpad(to_hex(number), 16, '0'), 'UTF8'), value, number
        FROM note_numbered
        ORDER BY 1
        ON CONFLICT (key) DO UPDATE SET value = excluded.value
    ),
    note_deleted AS (
        DELETE FROM idem.note USING last_note
        WHERE note.key = ANY ($28) AND note.key = last_note.key AND last_note.value IS NULL
    ) ")
    };
}

const ALL: &str = with_letters_and_notes!("", "");

const ALL_IN_ATTEMPT: &str = with_letters_and_notes!(
    " AND current_setting('idem' || '.attempt', true) = '1'",
    ", set_config('idle_in_transaction_session_timeout', '5000', true)"
);
