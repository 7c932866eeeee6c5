"""Tests, by what they need: `unit` nothing, `contract` the whole tree, `integration` other programs."""
