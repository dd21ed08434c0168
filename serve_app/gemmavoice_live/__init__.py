"""GemmaVoice's sockets: texts spoken and answered, audio heard, conversations held."""
