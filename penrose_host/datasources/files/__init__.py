"""The datasource `files`: files of rows, a list of them or a folder that grows."""
