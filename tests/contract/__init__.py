"""Tests of the whole tree against itself: import rules, schemas, files that must agree."""
