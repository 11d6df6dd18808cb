"""Tests, mirroring the packages; `conformance/` runs the same tests over every runtime that works here."""
