"""From a datasource to rows: the reader thread."""
