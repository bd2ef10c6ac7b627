"""Conversations about videos: in the terminal, on a web page, or through an OpenAI-compatible API."""
