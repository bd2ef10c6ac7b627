"""The conversation on a web page, and for other programs: one server, safe by default.

``server`` puts it together: ``guard`` lets requests in or not, ``videos`` keeps examples and uploads, ``desk`` says
whose turn it is, ``page`` is what a visitor sees, ``completions`` what an OpenAI client talks to.
"""
