"""OCPI 2.2.1 on the wire. Its structs end in `agent.runtime`, which turns them into model values."""
