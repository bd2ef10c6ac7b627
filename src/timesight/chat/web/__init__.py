"""The conversation on a web page and as an OpenAI-compatible API: one server, secure by default.

``server`` assembles it: ``guard`` authenticates requests, ``videos`` stores examples and uploads, ``readers`` reads
them in processes, and ``scheduler`` queues questions. ``page`` is the web page, with its ``player``, ``uploads``
and ``replies``; ``completions`` has the routes of the API, and ``protocol`` its requests.
"""
