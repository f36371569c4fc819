"""Datasources that come with the host: `files` and `clickstream`."""
