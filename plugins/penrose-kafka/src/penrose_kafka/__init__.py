"""Kafka for Penrose: the datasource, the sink and the development broker."""
