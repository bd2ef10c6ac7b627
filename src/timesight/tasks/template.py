"""Prompt templates: texts with fields in braces, checked before anything is asked with them."""

from __future__ import annotations

from string import Formatter
from typing import Protocol

from timesight.errors import InputError
from timesight.tasks.form import ReplyForm

FORM = "form"  # the field that stands for the form of the reply


class Prompted(Protocol):
    """What a template is checked against: a task."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def form(self) -> ReplyForm:
        """The form of its replies."""

    @property
    def template(self) -> str:
        """Its own template, whose fields are the ones there are."""


def check_template(task: Prompted, template: str, think: bool) -> str:
    """``template``, if it can be the prompt of ``task``.

    Raises InputError where it has an unknown field, or never shows a tag that the reward asks for.
    """
    known = {FORM, *field_names(task.template)}
    try:
        used = field_names(template)
    except ValueError as error:
        raise InputError(f"prompt of {task.name}: {error}; write {{{{ and }}}} for braces that are text") from None
    if unknown := sorted(used - known):
        raise InputError(f"prompt of {task.name}: no field {{{unknown[0]}}}; known: {', '.join(sorted(known))}")
    unseen = [tag.name for tag in task.form.asked(think) if FORM not in used and f"<{tag.name}>" not in template]
    if unseen:
        raise InputError(
            f"prompt of {task.name}: never asks for <{unseen[0]}>, which replies are rewarded for; use {{form}} or "
            "show the tags"
        )
    return template


def field_names(template: str) -> set[str]:
    """The fields in braces. Raises ValueError where braces do not match or hold no plain name."""
    names = set()
    for _, name, spec, conversion in Formatter().parse(template):
        if name is not None:
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}} is not the plain name of a field")
            names.add(name)
    return names
