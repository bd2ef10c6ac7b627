"""The page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chat.conftest import MB, PASSWORD, Running, wait

pytestmark = pytest.mark.browser
pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
expect.set_options(timeout=20_000)  # milliseconds; on a busy machine replies take their time
LOGIN = {"username": "timesight", "password": PASSWORD}
READY = "() => window.socket?.connected && document.querySelector('video')?.readyState >= 2"
NOW = "document.querySelector('video').currentTime"


@pytest.fixture
def page(running: Running, chromium: Any) -> Iterator[Any]:
    """A visitor's page. At the end: nothing was asked of another host, and nothing was wrong on it."""
    from nicegui import Client

    context = chromium.new_context(viewport={"width": 1280, "height": 900}, http_credentials=LOGIN)
    context.set_default_timeout(120_000)
    found = context.new_page()
    found.asked, found.problems = [], []
    found.on("request", lambda request: found.asked.append(request.url))
    found.on("websocket", lambda socket: found.asked.append(socket.url))
    found.on("console", lambda line: found.problems.append(line.text) if line.type == "error" else None)
    found.on("pageerror", lambda error: found.problems.append(str(error)))
    found.goto(running.url)
    found.wait_for_function(READY)
    yield found
    context.close()
    own = rf"(http|ws)://127\.0\.0\.1:{running.port}/|data:|blob:"
    assert [url for url in found.asked if not re.match(own, url)] == []
    assert found.problems == []
    wait(lambda: not any(client.has_socket_connection for client in Client.instances.values()))
    wait(lambda: not list(running.uploads.iterdir()))


def ask(page: Any, text: str) -> None:
    page.locator("input[maxlength]").fill(text)
    page.get_by_role("button", name="Ask", exact=True).last.click()


def test_a_segment_plays_from_its_start_to_its_end(page: Any) -> None:
    ask(page, "When?")
    segments = page.locator(".ev-segment")
    expect(segments).to_have_count(2)
    strip, first = page.locator(".ev-strip").bounding_box(), segments.first.bounding_box()
    duration_s = page.evaluate("document.querySelector('video').duration")
    assert abs((first["x"] - strip["x"]) / strip["width"] - 1.0 / duration_s) < 0.01
    assert abs(first["width"] / strip["width"] - 1.0 / duration_s) < 0.01
    segments.first.click()
    page.wait_for_function(f"{NOW} >= 1.0 && !document.querySelector('video').paused")
    page.wait_for_function("document.querySelector('video').paused")
    assert abs(page.evaluate(NOW) - 2.0) < 0.05
    page.get_by_role("button", name="2.4 to 2.8 s", exact=True).click()
    page.wait_for_function(f"{NOW} > 2.4")
    page.wait_for_function("document.querySelector('video').paused")
    assert abs(page.evaluate(NOW) - 2.8) < 0.05


def test_the_looks_are_shown_side_by_side(page: Any) -> None:
    page.get_by_text("look again").click()
    ask(page, "When?")
    expect(page.get_by_alt_text("frames of look 2")).to_be_visible()
    expect(page.get_by_text(re.compile(r"look 1: 6 frames of \d+ × \d+ px from 0.0 to 3.0 s"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"look 2: 16 frames"))).to_be_visible()
    assert page.locator("img.ts-sheet").evaluate_all("all => all.every(img => img.naturalWidth > 100)")


def test_spans_are_shown_as_far_as_the_video_goes_and_all_can_be_clicked(page: Any, running: Running) -> None:
    model = running.models["base"]
    usual, model.reply = model.reply, "<answer>a</answer><glue>[(1.4, 1.6), (0.0, 99999.0), (500.0, 600.0)]</glue>"
    try:
        ask(page, "When?")
        expect(page.get_by_role("button", name="0.0 to 3.0 s", exact=True)).to_be_visible()
        expect(page.locator(".ev-segment")).to_have_count(2)
        page.get_by_label("base: 1.4 to 1.6 s").click()
        page.wait_for_function(f"{NOW} >= 1.4 && {NOW} < 2.0")
        model.reply = "no times"
        ask(page, "What?")
        expect(page.get_by_text("no span named")).to_be_visible()
    finally:
        model.reply = usual


@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, {"width": 400, "height": 800}])
def test_player_question_and_new_reply_stay_in_view(page: Any, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    page.get_by_text("look again").click()
    for number in range(1, 4):
        ask(page, f"number {number}")
        expect(page.get_by_alt_text("frames of look 2")).to_have_count(number)
    for place in (page.locator("video"), page.locator("input[maxlength]"), page.get_by_text("number 3").first):
        expect(place).to_be_in_viewport()
    tops = page.locator(".ts-look").evaluate_all("all => all.map((look) => look.offsetTop)")
    assert (tops[-2] == tops[-1]) == (size["width"] == 1280)  # next to each other where there is room


def test_options_are_shown_with_their_letters(page: Any) -> None:
    page.get_by_role("button", name="Which").click()
    ask(page, "Who? | she | he")
    expect(page.get_by_text("Who?\nA she\nB he")).to_be_visible()


def test_two_models_over_several_turns_and_html_is_text(page: Any, running: Running) -> None:
    page.get_by_label("Second model").click()
    page.get_by_role("option", name="trained").click()
    hostile = "<img src=x onerror=alert(1)> <b>bold</b> {{ 7*7 }}"
    ask(page, hostile)
    expect(page.locator(".ev-segment")).to_have_count(4)
    replies = page.locator(".ts-reply")
    expect(replies).to_have_count(2)
    assert hostile in replies.nth(1).inner_text()
    assert page.locator("b, img:not(.ts-sheet)").count() == 0
    ask(page, "and then?")
    expect(replies).to_have_count(4)
    expect(page.locator(".ev-segment")).to_have_count(4)
    for model in running.models.values():
        assert model.prompts[-1].earlier[-1].question.startswith(hostile)
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_reply_grows_and_can_be_stopped(page: Any, running: Running) -> None:
    ask(page, "word " * 300)
    reply = page.locator(".ts-reply").first
    lengths = set()
    for _ in range(15):
        lengths.add(len(reply.inner_text()))
        page.wait_for_timeout(100)
    assert len(lengths) > 4
    page.get_by_role("button", name="Stop").click()
    wait(lambda: running.models["base"].running == 0)
    expect(page.get_by_text("[stopped]")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).not_to_be_visible()


def test_an_object_is_followed_from_a_drawn_box(page: Any, running: Running) -> None:
    model = running.models["base"]
    usual, model.reply = (
        model.reply,
        "<answer>[" + ", ".join(f"[0.{n}, 0.1, 0.{n + 1}, 0.3]" for n in range(8)) + "]</answer>",
    )
    try:
        page.get_by_role("button", name="Follow").click()
        ask(page, "it")
        expect(page.get_by_text("draw a box over the object first")).to_be_visible()
        frame = page.locator(".ev-frame").bounding_box()
        at = lambda x, y: (frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])  # noqa: E731
        page.mouse.click(*at(0.5, 0.5))  # a click is no box: it plays
        page.wait_for_function("!document.querySelector('video').paused")
        page.mouse.click(*at(0.5, 0.5))
        page.wait_for_function("document.querySelector('video').paused")
        expect(page.locator(".ev-box")).to_have_count(0)
        page.evaluate(f"{NOW} = 1")
        page.mouse.move(*at(0.1, 0.2))
        page.mouse.down()
        page.mouse.move(*at(0.5, 0.6))
        page.mouse.up()
        ask(page, "it")
        expect(page.get_by_role("button", name="1.0 to 2.8 s", exact=True)).to_be_visible()
        assert page.locator(".ev-box:not(:has-text('base'))").count() == 0  # the drawn one is gone
        asked = str(model.prompts[-1].parts[-1])
        found = re.search(r"first seen at \[([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+)\]", asked)
        assert found is not None
        assert [float(edge) for edge in found.groups()] == pytest.approx([0.1, 0.2, 0.5, 0.6], abs=0.02)
        page.evaluate(f"{NOW} = 1.5")  # the third of eight boxes from 1 s on, each a quarter of a second
        page.wait_for_timeout(300)
        box = page.locator(".ev-box", has_text="base").bounding_box()
        assert abs((box["x"] - frame["x"]) / frame["width"] - 0.2) < 0.02
        assert abs((box["y"] - frame["y"]) / frame["height"] - 0.1) < 0.02
        assert abs(box["height"] / frame["height"] - 0.2) < 0.02
    finally:
        model.reply = usual


def test_uploads_are_taken_or_told_why_not(page: Any, running: Running, video: Path, tmp_path: Path) -> None:
    upload = page.get_by_label("Upload a video")
    mine = tmp_path / "my <b>holiday.mp4"
    mine.write_bytes(video.read_bytes())
    held: list[Any] = []
    page.route("**/upload", lambda route: held.append(route))
    upload.set_input_files(mine)
    expect(page.get_by_text("uploading my <b>holiday.mp4 …")).to_be_visible()
    expect(upload).to_be_disabled()
    held[0].continue_()
    page.unroute("**/upload")
    expect(page.get_by_text("my <b>holiday.mp4", exact=True)).to_be_visible()  # chosen: what is drawn stays
    page.wait_for_function(READY)
    ask(page, "When?")
    expect(page.locator(".ev-segment")).to_have_count(2)
    text = tmp_path / "text.mp4"
    text.write_text("<script>alert(1)</script>")
    upload.set_input_files(text)
    expect(page.get_by_text(re.compile("this is not a video"))).to_be_visible()
    big = tmp_path / "big.mp4"
    big.write_bytes(video.read_bytes() + bytes(3 * MB))
    upload.set_input_files(big)
    expect(page.get_by_text("big.mp4 has 4 MB: at most 2 MB are taken")).to_be_visible()
    assert len(list(running.uploads.iterdir())) == 1
    page.problems.clear()  # the browser notes the refusal


def test_whoever_leaves_stops_the_model_and_takes_the_upload_along(
    page: Any, running: Running, chromium: Any, video: Path
) -> None:
    with chromium.new_context(http_credentials=LOGIN) as context:
        other = context.new_page()
        other.goto(running.url)
        other.wait_for_function(READY)
        other.get_by_label("Upload a video").set_input_files(video)
        wait(lambda: list(running.uploads.iterdir()))
        expect(other.get_by_text(video.name)).to_be_visible()
        assert page.get_by_text(video.name).count() == 0
        ask(other, "word " * 380)
        ask(page, "When?")  # two visitors at once: neither waits for the other
        wait(lambda: running.models["base"].running >= 1)
        expect(page.locator(".ev-segment")).to_have_count(2)
        assert running.models["base"].running == 1
        other.close()
        wait(lambda: running.models["base"].running == 0)
        wait(lambda: not list(running.uploads.iterdir()))


def test_hard_items_can_be_looked_at(page: Any) -> None:
    page.get_by_text("Hardest items").click()
    page.get_by_text("it <b>falls</b>").click()
    expect(page.locator(".ev-segment")).to_have_count(2)
    expect(page.get_by_label("truth: 0.5 to 1.5 s")).to_be_visible()
    assert page.locator("input[maxlength]").input_value() == "it <b>falls</b>"
    expect(page.get_by_text("truth: 0.5 to 1.5 s")).to_be_in_viewport()
    page.get_by_label("Video", exact=True).click()
    expect(page.get_by_role("option")).to_have_text(["example"])


def test_a_hard_choice_can_be_asked_again(page: Any) -> None:
    page.get_by_text("Hardest items").click()
    page.get_by_text("Who?").click()
    expect(page.locator("input[maxlength]")).to_have_value("Who? | me | you")
    expect(page.get_by_role("button", name="Which")).to_have_attribute("aria-pressed", "true")
