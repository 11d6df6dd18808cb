"""Benchmarks of Tare itself, a module each: `ROWS` holds the functions that measure. Never part of the tests."""
