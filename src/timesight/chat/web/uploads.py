"""The upload field of the page, which sends a video directly to the store instead of through the websocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from timesight.chat.web.settings import MB

SEND = """async (event) => {
  const input = event.target, file = input.files[0], most = MOST_MB;
  if (!file) return;
  const megabytes = file.size / 2 ** 20;
  if (megabytes > most) {
    emit('refused', `${file.name} has ${Math.ceil(megabytes)} MB: at most ${most} MB are taken`);
  } else {
    emit('sending', file.name);
    const headers = {'X-Visitor': window.clientId, 'X-Name': encodeURIComponent(file.name)};
    const request = {method: 'PUT', body: file, headers};
    const sent = await fetch(window.path_prefix + '/upload', request).catch(() => null);
    const answer = sent ? await sent.json().catch(() => ({})) : {};
    if (answer.token) emit('stored', answer.token);
    else emit('refused', answer.error?.message || 'the upload was cut off: try again');
  }
  input.value = '';
}"""


class Upload:
    """A field for one file.

    Args:
        max_bytes: Limit of its size.
        stored: Called with the token of a video that was accepted.
    """

    def __init__(self, max_bytes: int, stored: Callable[[str], None]) -> None:
        self._stored = stored
        with ui.row().classes("items-center gap-2 w-full"):
            self._label = ui.label().classes("ts-text text-caption text-gray-8")
            self._field = ui.element("input").props('type=file accept="video/*" aria-label="Upload a video"')
            self._field.classes("ts-file")
        self._field.on("change", self._change, js_handler=SEND.replace("MOST_MB", f"{max_bytes / MB:g}"))
        self._show("")

    def _change(self, event: Any) -> None:
        state, said = event.args
        self._show(str(said) if state == "sending" else "")
        if state == "stored":
            self._stored(str(said))
        elif state == "refused":
            ui.notify(str(said)[:300], type="negative", position="top", multi_line=True)

    def _show(self, name: str) -> None:
        """Show the state of the field; ``name`` is that of the file being uploaded, empty if there is none."""
        self._label.text = f"uploading {name} …" if name else "or one of yours:"
        self._field.props("disabled" if name else "", remove="" if name else "disabled")
