"""Asking a model questions about videos: one (``ask``) or many (``answer``), with a second look (``clue``)."""
