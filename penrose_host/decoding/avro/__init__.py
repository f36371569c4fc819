"""Avro messages."""
