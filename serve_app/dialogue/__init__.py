"""The conversation core; it knows neither Ray nor FastAPI."""
