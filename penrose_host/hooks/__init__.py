"""Hook plugins that come with the host."""
