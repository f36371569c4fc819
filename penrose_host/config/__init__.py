"""The job: its file, variables and flags (`layers`, `jobfile`), its models (`job`), its plugins (`resolve`)."""
