"""A broker to develop with: `penrose kafka dev`."""
