"""OCPI 2.2.1 on the wire. Its structs end in `agent.runtime`, which turns them into model values."""

import sys

# httpx carries a command line client, which it imports with rich and pygments where those happen to be installed:
# 5 MB that an agent never uses. With this entry it takes its own way for "not installed".
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how Python marks "can't be imported"
