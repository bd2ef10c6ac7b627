"""Prompt templates: texts with fields in braces, checked before they are used."""

from __future__ import annotations

from string import Formatter
from typing import Protocol

from timesight.errors import InputError
from timesight.tasks.form import ReplyForm

FORM = "form"  # the field for the instruction on the form of the reply


class Prompted(Protocol):
    """What ``check_template`` needs of a task."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def form(self) -> ReplyForm:
        """Form of its replies."""

    @property
    def template(self) -> str:
        """The task's default template, whose fields are the known ones."""


def check_template(task: Prompted, template: str, think: bool) -> str:
    """Check that ``template`` can be the prompt of ``task``.

    Args:
        task: Has the known fields and the tags of a reply.
        template: The text to check.
        think: Whether it is for think mode and has to ask for ``<think>``.

    Returns:
        ``template``.

    Raises:
        InputError: If it has an unknown field or unmatched braces, or shows neither ``{form}`` nor every tag.
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
    """Names of the fields in braces.

    Raises:
        ValueError: If braces do not match, or hold anything but a plain name.
    """
    names = set()
    for _, name, spec, conversion in Formatter().parse(template):
        if name is not None:
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}} is not the plain name of a field")
            names.add(name)
    return names
