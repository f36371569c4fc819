"""What leaves for serving."""
