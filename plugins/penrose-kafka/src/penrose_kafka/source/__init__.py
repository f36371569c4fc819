"""The datasource `kafka`. `kafka_source` is its entry module and imports neither client nor Arrow."""
