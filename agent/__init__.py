"""The software inside an EV charge point: from a card at the reader to a relay, by whitelist and OCPI."""

__version__ = "0.1.0"
