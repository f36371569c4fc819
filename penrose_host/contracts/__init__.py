"""What the host and its plugins agree on, one file a kind. Nothing here imports the rest of the host."""
