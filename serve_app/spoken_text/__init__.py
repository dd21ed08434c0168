"""A text as a voice should read it."""
