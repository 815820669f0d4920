-- state.db, version 1: what the operator bills and answers for. Times are microseconds since 1970, UTC.
-- One statement changes everything that belongs together (triggers do the rest), so that a tap costs one commit.

CREATE TABLE authorization (
    id INTEGER PRIMARY KEY,
    evse_uid TEXT NOT NULL,
    uid TEXT NOT NULL,
    reader TEXT NOT NULL,
    tapped_at INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    detail TEXT NOT NULL,
    text TEXT NOT NULL,
    relay_closed INTEGER NOT NULL CHECK (relay_closed IN (0, 1)),
    latency_ms REAL NOT NULL,
    deadline_ms REAL NOT NULL,
    correlation_id TEXT NOT NULL,
    peer TEXT,
    country_code TEXT,
    party_id TEXT,
    contract_id TEXT,
    group_id TEXT,
    authorization_reference TEXT,
    token_uid TEXT,
    ends INTEGER,
    end_reason TEXT,
    ended_at INTEGER,
    ended_because TEXT,
    CHECK ((ends IS NULL) = (end_reason IS NULL)),
    CHECK ((ended_at IS NULL) = (ended_because IS NULL))
);

-- Up to this id every authorization has its end. An index of the open ones would say the same for one more page
-- written with every start and every end: measured, 7.9 KB a tap against 6.8.
CREATE TABLE open_check (
    up_to INTEGER NOT NULL
);

INSERT INTO open_check VALUES (0);

CREATE TRIGGER authorization_ends_another AFTER INSERT ON authorization WHEN NEW.ends IS NOT NULL
BEGIN
    UPDATE authorization SET ended_at = NEW.tapped_at, ended_because = NEW.end_reason
        WHERE id = NEW.ends AND ended_at IS NULL;
END;

-- An id is never given twice. AUTOINCREMENT would say the same for one more page written a tap.
CREATE TRIGGER authorization_keeps_newest BEFORE DELETE ON authorization
    WHEN OLD.id = (SELECT max(id) FROM authorization)
BEGIN
    SELECT RAISE(ABORT, 'the newest authorization stays, so that its id is not given again');
END;

CREATE TABLE late_answer (
    id INTEGER PRIMARY KEY,
    authorization_id INTEGER NOT NULL REFERENCES authorization (id) ON DELETE CASCADE,
    answered_at INTEGER NOT NULL,
    joined INTEGER NOT NULL CHECK (joined IN (0, 1)),
    peer TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    token TEXT,                     -- JSON, as the peer sent it along
    authorization_reference TEXT,
    info_language TEXT,
    info_text TEXT,
    elapsed_s REAL NOT NULL,
    CHECK ((info_language IS NULL) = (info_text IS NULL))
);

CREATE INDEX late_answer_of ON late_answer (authorization_id);

CREATE TRIGGER late_answer_joins AFTER INSERT ON late_answer
    WHEN NEW.joined = 1 AND NEW.authorization_reference IS NOT NULL
BEGIN
    UPDATE authorization SET authorization_reference = NEW.authorization_reference WHERE id = NEW.authorization_id;
END;

-- The OCPI Tariffs that sessions began with: one for many of them.
CREATE TABLE tariff (
    number INTEGER PRIMARY KEY,
    object BLOB NOT NULL UNIQUE
);

-- What an authorization became: the last persisted state of its session. The small columns come first, for what does
-- not fit into a page lies elsewhere. A running one is rewritten all the time: none of the indexes is touched by that.
CREATE TABLE session (
    authorization_id INTEGER PRIMARY KEY REFERENCES authorization (id) ON DELETE CASCADE,
    session_id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    evse_uid TEXT NOT NULL,
    tariff INTEGER REFERENCES tariff (number),
    peer TEXT,
    started_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    energy_wh INTEGER,
    register_wh INTEGER,
    boot_id TEXT NOT NULL,
    monotonic_s REAL NOT NULL,
    clock_known INTEGER NOT NULL CHECK (clock_known IN (0, 1)),
    ended_at INTEGER,
    ended_because TEXT,
    no_cdr TEXT,
    revision INTEGER NOT NULL,      -- rises with each state that its peer is to hear of
    account BLOB NOT NULL,
    object BLOB,                    -- the OCPI Session
    padding BLOB NOT NULL,          -- so that the row of a running one keeps its length
    CHECK ((ended_at IS NULL) = (ended_because IS NULL))
);

CREATE INDEX session_running ON session (authorization_id) WHERE ended_at IS NULL;

-- Over, but nobody knows yet when it was: nothing can be made of it before the clock is known.
CREATE INDEX session_unsealed ON session (authorization_id)
    WHERE clock_known = 0 AND ended_at IS NOT NULL AND no_cdr IS NULL;

-- A tariff that no session has goes; without an index that would be looked for in all of them.
CREATE INDEX session_of_tariff ON session (tariff);

CREATE INDEX session_of_peer ON session (peer, changed_at, authorization_id)
    WHERE ended_at IS NOT NULL AND object IS NOT NULL;

-- Sealed: a CDR is never changed.
CREATE TABLE cdr (
    number INTEGER PRIMARY KEY,
    cdr_id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    authorization_id INTEGER NOT NULL REFERENCES session (authorization_id) ON DELETE CASCADE,
    peer TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    credits TEXT COLLATE NOCASE,    -- the cdr_id of the one that it takes back
    object BLOB NOT NULL            -- the OCPI CDR
);

-- A session has one CDR at most, and that one at most one credit.
CREATE UNIQUE INDEX cdr_of ON cdr (authorization_id, (credits IS NULL));

CREATE INDEX cdr_of_peer ON cdr (peer, changed_at, number);

CREATE TRIGGER cdr_keeps_newest BEFORE DELETE ON cdr WHEN OLD.number = (SELECT max(number) FROM cdr)
BEGIN
    SELECT RAISE(ABORT, 'the newest CDR stays, so that its number is not given again');
END;

-- The outbox: rows only for what a peer has not acknowledged, so that to look into it costs the same after 10,000
-- sessions. What became of a report is kept in rows of its own as well: a session or CDR fills several pages, and to
-- note one word in it would write them all again.
CREATE TABLE session_due (
    authorization_id INTEGER PRIMARY KEY REFERENCES session (authorization_id),
    peer TEXT NOT NULL,
    since INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    problem TEXT
);

CREATE TABLE session_rejected (
    authorization_id INTEGER PRIMARY KEY REFERENCES session (authorization_id) ON DELETE CASCADE,
    problem TEXT NOT NULL
);

CREATE TABLE cdr_due (
    number INTEGER PRIMARY KEY REFERENCES cdr (number),
    authorization_id INTEGER NOT NULL,
    peer TEXT NOT NULL,
    since INTEGER NOT NULL,
    parked INTEGER NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
    problem TEXT
);

CREATE TABLE cdr_acknowledged (
    number INTEGER PRIMARY KEY REFERENCES cdr (number) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    url TEXT
);

-- What an operator's command asks of the agent that runs.
CREATE TABLE stop_request (
    number INTEGER PRIMARY KEY,
    evse_uid TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    outcome TEXT                    -- the answer; NULL: none yet
);

CREATE INDEX stop_request_open ON stop_request (number) WHERE outcome IS NULL;

-- One relation to each OCPI peer that we invited or registered with.
CREATE TABLE peer (
    name TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('invited', 'registering', 'registered', 'rotating', 'unregistered')),
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,    -- unlike any other that this file ever had; set by the triggers
    versions_url TEXT,
    version TEXT,
    encoding TEXT NOT NULL DEFAULT 'base64' CHECK (encoding IN ('base64', 'plain')),
    trailing_slash INTEGER NOT NULL DEFAULT 0 CHECK (trailing_slash IN (0, 1)),
    ca_file TEXT,
    their_token TEXT,                       -- what we send; in clear, for it must be sent
    their_previous_token TEXT,
    endpoints TEXT NOT NULL DEFAULT '[]',   -- JSON: [[module, role, url], …]
    roles TEXT NOT NULL DEFAULT '[]',       -- JSON: [[role, country, party, name], …]
    note TEXT NOT NULL DEFAULT '',
    endings INTEGER NOT NULL DEFAULT 0,     -- how often the relation has ended
    withdrawn INTEGER NOT NULL DEFAULT 0    -- … and up to which ending its tokens are withdrawn from the whitelist
);

-- The credentials tokens that we issued, of which only the SHA-256 is kept.
CREATE TABLE accepted_token (
    hash BLOB PRIMARY KEY,
    peer TEXT NOT NULL REFERENCES peer (name),
    kind TEXT NOT NULL CHECK (kind IN ('invite', 'pending', 'current', 'previous')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,                     -- of an invite, and of a previous one
    used_at INTEGER,
    renounced INTEGER NOT NULL DEFAULT 0 CHECK (renounced IN (0, 1))    -- previous, and it was we who replaced it
);

CREATE UNIQUE INDEX one_current_token ON accepted_token (peer) WHERE kind = 'current';

CREATE INDEX accepted_token_of ON accepted_token (peer);

-- Counts the changes of all peers: a process sees by it what another one did.
CREATE TABLE peer_change (
    number INTEGER NOT NULL
);

INSERT INTO peer_change VALUES (0);

CREATE TRIGGER peer_is_new AFTER INSERT ON peer
BEGIN
    UPDATE peer_change SET number = number + 1;
    UPDATE peer SET revision = (SELECT number FROM peer_change) WHERE name = NEW.name;
END;

-- That the peer has used its token changes nothing of what was agreed: it must not disturb an exchange under way.
CREATE TRIGGER peer_changes AFTER UPDATE OF status, versions_url, ca_file, their_token, endpoints, roles ON peer
BEGIN
    UPDATE peer_change SET number = number + 1;
    UPDATE peer SET revision = (SELECT number FROM peer_change) WHERE name = NEW.name;
END;

CREATE TRIGGER peer_goes AFTER DELETE ON peer
BEGIN
    UPDATE peer_change SET number = number + 1;
END;
