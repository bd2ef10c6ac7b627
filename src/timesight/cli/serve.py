"""``timesight serve``: talk about videos on a web page."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.chat import REMEMBERED, TINY, TINY_BOXES
from timesight.cli.options import clue_options, clue_settings
from timesight.errors import InputError, VideoError

if TYPE_CHECKING:
    from timesight.artifacts import ItemEntry
    from timesight.chat.web.page import HardItem
    from timesight.chat.web.settings import SiteSettings
    from timesight.chat.web.videos import VideoStore

PASSWORD = "TIMESIGHT_PASSWORD"
EXAMPLES_SEED = 2026
NUM_HARD = 24


@click.command(
    epilog="Example: timesight serve --model Qwen/Qwen2.5-VL-3B-Instruct --model runs/grpo --gallery runs/after",
    short_help="Talk about videos on a web page, with evidence.",
)
@click.option("--model", "models", multiple=True, default=(TINY,), show_default=True, help="May be repeated.")
@click.option(
    "--video",
    "videos",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Example video shown on the page; may be repeated.",
)
@click.option(
    "--examples/--no-examples", default=True, show_default=True, help="Examples from the synthetic world."
)
@click.option(
    "--gallery", type=click.Path(path_type=Path), help="The --out of an eval: its hardest items are shown."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Others need a password.")
@click.option("--port", default=8400, show_default=True, type=click.IntRange(0, 65535), help="0 is any free one.")
@click.option("--user", default="timesight", show_default=True, help="User name for the password.")
@click.option("--password-file", type=click.Path(path_type=Path), help=f"Or the variable {PASSWORD}.")
@click.option("--max-upload-mb", default=200, show_default=True, type=click.IntRange(1), help="Largest upload.")
@click.option(
    "--max-minutes",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Longest upload, minutes.",
)
@click.option("--max-active", default=2, show_default=True, type=click.IntRange(1), help="Replies written at once.")
@click.option("--max-waiting", default=16, show_default=True, type=click.IntRange(0), help="Questions that wait.")
@clue_options
@click.option("--think", is_flag=True, help="Ask in think mode.")
@click.option(
    "--max-new-tokens", default=256, show_default=True, type=click.IntRange(1), help="Token limit per reply."
)
def command(models: tuple[str, ...], videos: tuple[Path, ...], gallery: Path | None, **flags: Any) -> None:
    """Serve a page where videos can be asked about, and an OpenAI-compatible endpoint at /v1.

    It is for this machine only unless --host says otherwise, and then it asks for a password.
    """
    settings = _settings(flags)
    items = [] if gallery is None else _hardest(gallery)
    try:
        from timesight.chat.web.server import bind, make_site, serve
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs {error.name}: pip install 'timesight[serve]'") from None
    from timesight.chat.session import ChatSettings
    from timesight.cli.console import quiet_libraries
    from timesight.generate.local import open_generator
    from timesight.types import Video

    listening = bind(settings.host, settings.port)
    quiet_libraries()
    chat = ChatSettings(
        clue=clue_settings(flags),
        think=flags["think"],
        max_new_tokens=flags["max_new_tokens"],
        num_boxes=TINY_BOXES if TINY in models else 8,
        remembered=0 if TINY in models else REMEMBERED,
    )
    opened = {name: open_generator(name) for name in dict.fromkeys(models)}
    hard: list[HardItem] = []
    with TemporaryDirectory() as folder:
        site = make_site(settings, opened, chat, hard)
        for path in videos:
            site.store.add_example(Video(path=path), path.name)
        if flags["examples"]:
            _add_examples(site.store, Path(folder))
        hard += _with_videos(items, site.store)
        click.echo(_invitation(settings.host, listening.getsockname()[1]))
        serve(site, listening)


def _settings(flags: dict[str, Any]) -> SiteSettings:
    from timesight.chat.web.settings import MB, SiteSettings

    password = os.environ.get(PASSWORD)
    if (file := flags["password_file"]) is not None:
        try:
            password = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: the password cannot be read ({error})") from None
    return SiteSettings(
        host=flags["host"],
        port=flags["port"],
        user=flags["user"],
        password=password,
        max_upload_bytes=flags["max_upload_mb"] * MB,
        max_duration_s=flags["max_minutes"] * 60,
        max_active=flags["max_active"],
        max_waiting=flags["max_waiting"],
    )


def _invitation(host: str, port: int) -> str:
    """The address to open, first."""
    try:
        is_any = ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        is_any = False
    reached = f"port {port} of all addresses of this machine; " if is_any else ""
    name = socket.gethostname() if is_any else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/  ({reached}OpenAI-compatible: /v1; Ctrl-C ends it)"


def _add_examples(store: VideoStore, folder: Path) -> None:
    """Three videos of the synthetic world, and three long ones with details for looking again."""
    from timesight.types import Video
    from timesight.world import WORLDS, make_scene, write_video

    for number in range(6):
        kind = "short" if number < 3 else "long"
        scene = make_scene(f"example-{number}", (EXAMPLES_SEED, number), WORLDS[kind])
        path = folder / f"{number}.mp4"
        write_video(scene, path)
        shapes = " and ".join(shape.name for shape in scene.shapes)
        what = f"{shapes}, with dots and sparks" if kind == "long" else shapes
        store.add_example(Video(path=path), f"example {number + 1}: {what}")


def _hardest(folder: Path) -> list[ItemEntry]:
    """The items of an evaluation with the lowest scores, one a video; none that could not be better."""
    from timesight.artifacts import read_items
    from timesight.cli.gallery import worst_items

    worst = worst_items(list(read_items(folder).values()), NUM_HARD)
    return [item for item in worst if (found := item.first_metric) and found[1] < 1]


def _with_videos(items: list[ItemEntry], store: VideoStore) -> list[HardItem]:
    """``items`` whose videos are there and are files that a browser can be given; says how many are not."""
    hard, reasons = [], []
    for item in items:
        try:
            hard.append(_hard_item(item, store))
        except VideoError as error:
            reasons.append(str(error))
    if reasons:
        click.echo(f"{len(reasons)} of {len(items)} gallery videos cannot be read: {reasons[0]}", err=True)
    return hard


def _hard_item(item: ItemEntry, store: VideoStore) -> HardItem:
    from timesight.chat.web.page import HardItem
    from timesight.types import Span, Video

    video = Video.model_validate(item.video)
    if video.path.is_dir():
        raise VideoError(video.path, "is a folder of frames, which a browser cannot play")
    token = store.add_example(video, item.id, listed=False)
    true_spans, reply_spans = (
        tuple(Span(*pair) for pair in pairs if pair[0] <= pair[1])
        for pairs in (item.spans.truth, item.spans.answer)
    )
    found = item.first_metric
    figure = "" if found is None else f"{found[0]}: {found[1]:.2f}"
    return HardItem(
        token,
        item.task,
        item.question,
        item.truth,
        item.reply,
        figure,
        true_spans,
        reply_spans,
        item.options,
    )
