"""Plug sensors and energy meters: each driver makes one kind of device say what the agent must know."""
