"""How rows are written: CSV and JSON lines, and the types of their columns."""
