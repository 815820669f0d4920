"""What the agent says of itself to those who watch over it: systemd, the journal, a monitoring system, a supporter."""
