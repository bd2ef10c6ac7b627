"""Training: SFT and GRPO in one loop, driven by recipes.

``recipe`` reads what to do, ``settings`` types it, ``cost`` says what it will need, ``preview`` what it would start
from. ``run`` is a run: ``run_dir`` checks its directory, ``build`` makes what it needs. ``schedule`` orders the
samples, ``dataset`` makes prompts of them, ``loop`` takes the steps. ``sft`` and ``grpo`` say what is learned:
``rollout`` replies and rewards, ``advantages``, ``losses``. ``validate`` asks held-out samples on the way.
"""
