"""Wire models only: what travels over HTTP, in the names that clients use."""
