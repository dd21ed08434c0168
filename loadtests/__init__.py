"""Load tests: clients of the wire protocol alone."""
