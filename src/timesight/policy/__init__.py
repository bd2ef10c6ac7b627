"""The model: loading it, giving it videos, sampling from it, and the log-probabilities of what it said.

``policy`` the model with its processor, ``load`` and ``adapter`` where it comes from, ``encode`` prompts to
tensors, ``vision`` the tower, ``generate`` sampling, ``sharing`` what questions about one video have in common,
``logprobs`` with ``packing`` and ``attention`` the scores of replies, ``speed`` fast parts for stock models,
``tiny`` new small models and the embedded one, ``operations`` and ``outline`` what a pass and a model come to in
numbers. ``answering`` says what answers questions: a policy (``answerers``), other models (``foreign``), served
ones (``endpoint``).
"""
