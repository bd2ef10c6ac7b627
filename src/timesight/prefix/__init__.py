"""What prompts, questions and replies have in common, computed once.

``layout`` prompts and replies as one row, ``questions`` prompts on one video, ``logprobs`` the scores of replies.
"""
