"""How operations are run: now, on arrays."""
