"""OpenAudio S1-mini: several voices at once on one model, heard while they are made."""
