"""Arrow IPC messages."""
