"""Training: SFT and GRPO on one Trainer, driven by recipes.

``recipe`` what to do, ``cost`` what that will need, ``preview`` what it would start from, ``run`` the run
directory, ``dataset`` prompts, ``rollout`` replies and rewards, ``advantages`` and ``loss`` the objective,
``trainer`` what the two trainers ``grpo`` and ``sft`` share, ``validate`` held-out samples on the way.
"""
