"""The datasource `clickstream`: clicks that a seed draws, without an end."""
