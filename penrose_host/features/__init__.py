"""Columns in; ids, numbers, labels and times out. `config` is the `features:` section, `encoder` applies it."""
