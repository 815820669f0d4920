-- whitelist.db, version 1: the peers' tokens and how far each list is synced. Times are microseconds since 1970, UTC.

CREATE TABLE peer (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 0,  -- of the sync started last; generations are counted over all peers
    full_generation INTEGER NOT NULL DEFAULT 0, -- of the last full sync that read the list to its end
    shadowed INTEGER NOT NULL DEFAULT 0,    -- its list has had a token that another peer's row stands for
    -- Not 0: the newest generation when another peer's tokens were withdrawn. A full sync that began later brings back
    -- those that this peer lists as well.
    relist INTEGER NOT NULL DEFAULT 0
);

-- A rowid table with an index on the key, not WITHOUT ROWID: a full sync that finds everything as it was then rewrites
-- the table in the order of the peer's pages. Measured with 400,000 tokens: 0.2 KB a token, where the other took 7.
CREATE TABLE token (
    id INTEGER PRIMARY KEY,
    -- The key: upper case, for OCPI compares without regard to case.
    uid_key TEXT NOT NULL,
    type INTEGER NOT NULL,                  -- 0 AD_HOC_USER, 1 APP_USER, 2 OTHER, 3 RFID
    country_key TEXT NOT NULL,
    party_key TEXT NOT NULL,
    -- As the owner wrote it; NULL where that is the key.
    uid TEXT,
    country_code TEXT,
    party_id TEXT,
    contract_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    valid INTEGER NOT NULL,
    whitelist INTEGER NOT NULL,             -- 0 ALWAYS, 1 ALLOWED, 2 ALLOWED_OFFLINE, 3 NEVER
    last_updated INTEGER NOT NULL,
    counts_as INTEGER,                      -- when a last_updated from the future came in; NULL for any other
    visual_number TEXT,
    group_id TEXT,
    language TEXT,
    default_profile_type TEXT,
    supplier_name TEXT,
    supplier_contract_id TEXT,
    peer_id INTEGER NOT NULL REFERENCES peer (id),
    generation INTEGER NOT NULL,            -- of the sync that saw it last
    pushed INTEGER NOT NULL DEFAULT 0,      -- 1 made by a push, 2 changed by one, and no later sync has met it
    withdrawn INTEGER NOT NULL DEFAULT 0    -- two complete full syncs in a row did not bring it
);

CREATE UNIQUE INDEX token_key ON token (uid_key, type, country_key, party_key);

CREATE TABLE sync_progress (
    peer_id INTEGER PRIMARY KEY REFERENCES peer (id),
    kind TEXT NOT NULL,
    generation INTEGER NOT NULL,
    next_url TEXT NOT NULL,
    reference INTEGER NOT NULL,             -- the peer's clock when the sync began
    started_at INTEGER NOT NULL,
    pages INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    promised INTEGER NOT NULL DEFAULT 0,    -- the highest total that the peer has named
    doubt TEXT NOT NULL DEFAULT '',         -- why its end may not be the list's end; '' without a doubt
    resumes INTEGER NOT NULL DEFAULT 0      -- since the last page was stored
);

CREATE TABLE last_sync (
    peer_id INTEGER PRIMARY KEY REFERENCES peer (id),
    kind TEXT NOT NULL,
    reference INTEGER NOT NULL,
    completed_at INTEGER NOT NULL,
    last_full_at INTEGER,
    tokens INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    missed INTEGER NOT NULL,                -- tokens that the last full one was the first not to bring
    again INTEGER NOT NULL DEFAULT 0        -- the next one is to be full: 1 for a doubt, 2 for what was missed
);
