"""The fixed pieces of work that run inside a box."""
