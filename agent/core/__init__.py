"""The rules, pure: no I/O, no clock, no logging, no asyncio. What comes in decides what goes out."""
