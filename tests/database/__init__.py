"""A real PostgreSQL server on loopback, for tests."""
