"""The model's room: ``load`` a policy, ``encode`` prompts, ``generate`` replies, score them in ``logprobs``.

``tiny`` makes new small models, ``speed`` makes stock models fast on CPUs.
"""
