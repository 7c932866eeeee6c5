"""Changes of the database schema, release by release; Alembic runs them when the store is opened."""
