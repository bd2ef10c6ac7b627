"""The conversation on a web page, and for other programs: one server, safe by default.

``server`` puts it together: ``guard`` lets requests in or not, ``videos`` keeps examples and uploads,
``readers`` read them, and ``scheduler`` says whose turn it is. ``page`` is what a visitor sees, with its
``player``, ``uploads`` and ``replies``; ``completions`` is what an OpenAI client talks to, and
``protocol`` what it says.
"""
