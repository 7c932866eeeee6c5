"""Measurements; each is one command that prints a table and keeps it as JSON beside it. None is a test."""
