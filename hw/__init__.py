"""Drivers for real devices: the only place that imports pyserial, gpiozero and their kin."""
