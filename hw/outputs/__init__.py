"""Relays and displays: each driver makes one kind of device do what the agent decided."""
