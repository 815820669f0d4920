"""What `doctor` looks at, one small function a check, and what `readers` says of what is plugged in.

Nothing here changes anything: no relay is moved, no display written to, databases are opened to be read.
"""
