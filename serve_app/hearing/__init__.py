"""What is heard: voice, its beginnings and pauses, and whether the speaker has finished.

Free of Ray, FastAPI and asyncio.
"""
