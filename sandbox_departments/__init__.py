"""The department node, usable by a real department through its `Register` port, and simulated registers."""
