"""Typed settings, and whole Serve configurations beside them."""
