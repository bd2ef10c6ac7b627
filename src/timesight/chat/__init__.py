"""Conversations about videos: one session, in the terminal, on a web page, or through an OpenAI-compatible door."""
