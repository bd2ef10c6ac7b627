"""Replies to prompts: by a policy in this process, by other local models, or by a server.

``base`` what a generator is, ``local`` a policy as one, ``decode``, ``past`` and ``static`` how a policy
samples, ``hf``
other models of ``transformers``, ``served`` models behind an OpenAI-compatible endpoint.
"""
