"""The charge point on a web page, read-only: imported where `[panel]` is configured, and nowhere else."""
