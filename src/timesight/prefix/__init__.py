"""What prompts and replies have in common, computed once.

``tree`` prompts and replies as a tree, ``layout`` a tree as one row, ``logprobs`` the scores of replies.
"""
