"""A live session in OpenAI's realtime dialect."""
