"""From OpenAI's messages to a conversation, and from what is written to OpenAI's answer."""
