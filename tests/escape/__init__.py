"""Attempts to get out of a box, made inside one; each first shown to succeed, or to be refused otherwise, outside."""
