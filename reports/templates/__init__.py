"""The page of the HTML report: a template, its style and its script, read as package data."""
