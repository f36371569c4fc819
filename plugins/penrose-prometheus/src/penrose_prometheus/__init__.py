"""The Prometheus hook of Penrose. `hook` is its entry module and imports neither server nor client library."""
