"""A live conversation: who speaks, what is said, and what was heard; it knows neither Ray nor FastAPI."""
