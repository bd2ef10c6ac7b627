"""The model: where it comes from, what it is given, what it computes. It knows nothing of tasks.

``policy`` the model with its processor, ``load`` and ``adapter`` where it comes from, ``prompt`` and ``encode``
what it is asked, as values and as tensors, ``vision`` the tower, ``attention`` (with
``tree_attention`` and ``kernels``), ``positions`` and ``speed`` what is put into stock models, ``families`` what
differs between them, ``tiny`` new small models and the embedded one, ``shape`` and ``flops`` a model and a pass in
numbers.
"""
