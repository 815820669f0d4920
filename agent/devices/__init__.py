"""Builds the drivers that a configuration names, and connects what they say to the EVSEs: a module a kind of device.

The one place of the agent that knows drivers by name; a library is imported where a device that needs it is fitted.
"""
