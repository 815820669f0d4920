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
