"""Training: SFT and GRPO on one Trainer, driven by recipes.

``recipe`` what to do, ``run`` the run directory, ``dataset`` prompts, ``rollout`` replies and rewards,
``loss`` the objective, ``grpo`` and ``sft`` the two trainers.
"""
