"""What runs: the tap loop, the peers asked in time, the whitelist kept up to date."""
