"""A real Apache Kafka broker for tests, on loopback, without Docker."""
