"""ElevenLabs' text-to-speech API over the voices that are served here."""
