"""Devices and peers that are not there, played at the lowest level that runs without hardware."""
