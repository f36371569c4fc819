"""The sink `kafka`. `kafka_sink` is its entry module and imports no client."""
