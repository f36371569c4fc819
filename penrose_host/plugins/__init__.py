"""Plugins: found in package metadata (`index`), chosen by name (`selection`), imported one by one (`loading`)."""
