"""Two SQLite files: `whitelist.db` can be synced again, `state.db` is what the operator bills from."""
