"""Card readers: each driver turns one kind of device into taps."""
