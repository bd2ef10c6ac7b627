"""Whose turn it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.chat.conftest import wait

pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
from timesight.chat.web.scheduler import Done, FairLock, InterleavedGenerator, RequestScheduler
from timesight.chat.web.settings import RefusedError


def test_questions_wait_for_their_turn_and_too_many_are_refused() -> None:
    async def main() -> None:
        scheduler = RequestScheduler(max_active=1, max_waiting=2)
        gate = threading.Event()
        order: list[int] = []

        def work(number: int) -> Iterator[str]:
            gate.wait(10)
            order.append(number)
            yield "a"
            return None

        async def ask(number: int) -> list[Any]:
            return [piece async for piece in scheduler.run(work(number))]  # type: ignore[arg-type]

        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.05)
        assert (scheduler.num_active, scheduler.num_waiting) == (1, 2)
        with pytest.raises(RefusedError, match="2 questions are waiting already") as full:
            await ask(3)
        assert full.value.status == 503
        gate.set()
        assert all(pieces == ["a", Done(None)] for pieces in await asyncio.gather(*tasks))
        assert order == [0, 1, 2]
        await asyncio.sleep(0.05)
        assert (scheduler.num_active, scheduler.num_waiting) == (0, 0)
        scheduler.close()

    asyncio.run(main())


def test_who_waits_for_a_video_holds_no_place() -> None:
    def work() -> Iterator[str]:
        yield "a"

    async def main() -> None:
        scheduler, gate = RequestScheduler(max_active=1, max_waiting=1), threading.Event()

        async def ask(before: Any) -> list[Any]:
            return [piece async for piece in scheduler.run(work(), before)]  # type: ignore[arg-type]

        slow = asyncio.create_task(ask(lambda: gate.wait(10)))
        await asyncio.sleep(0.05)
        assert (scheduler.num_active, scheduler.num_waiting) == (0, 1)
        assert await ask(lambda: None) == ["a", Done(None)]
        gate.set()
        assert await slow == ["a", Done(None)]
        scheduler.close()

    asyncio.run(main())


@pytest.mark.parametrize("where", ["before", "work"])
def test_what_nobody_foresaw_is_logged_and_told_in_one_line(where: str, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> Iterator[str]:
        yield str(1 / (where != "work"))

    async def main() -> None:
        scheduler = RequestScheduler(max_active=1, max_waiting=0)
        with pytest.raises(RefusedError, match="the administrator finds the reason in the server's log") as failed:
            async for _ in scheduler.run(work(), lambda: 1 / (where != "before")):  # type: ignore[arg-type,return-value]
                pass
        assert failed.value.status == 500
        assert "ZeroDivisionError" in caplog.text
        scheduler.close()

    asyncio.run(main())


def test_whoever_leaves_ends_the_reply() -> None:
    async def main() -> None:
        scheduler = RequestScheduler(max_active=1, max_waiting=0)
        ended = threading.Event()

        def endless() -> Iterator[str]:
            try:
                while True:
                    threading.Event().wait(0.01)
                    yield "a"
            finally:
                ended.set()

        pieces = scheduler.run(endless())  # type: ignore[arg-type]
        await anext(pieces)
        await pieces.aclose()
        assert await asyncio.to_thread(ended.wait, 5)
        wait_for = asyncio.get_running_loop().time() + 5
        while scheduler.num_active and asyncio.get_running_loop().time() < wait_for:
            await asyncio.sleep(0.01)
        assert [piece async for piece in scheduler.run(iter_done())] == [Done("x")]
        scheduler.close()

    def iter_done() -> Any:
        return "x"
        yield

    asyncio.run(main())


def test_a_fair_lock_goes_round() -> None:
    lock, order = FairLock(), []
    threads = []
    with lock:
        for number in range(4):
            threads.append(threading.Thread(target=lambda n=number: _note(lock, order, n)))
            threads[-1].start()
            wait(lambda: lock._next_ticket == len(threads) + 1)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3]


def _note(lock: FairLock, order: list[int], number: int) -> None:
    with lock:
        order.append(number)


def test_replies_under_way_share_the_model_token_by_token(video: Path) -> None:
    from tests.chat.scripted import Scripted

    from timesight.chat.session import Session
    from timesight.infer.ask import Question
    from timesight.types import Video

    model = InterleavedGenerator(Scripted("m", "<answer>" + "a " * 30 + "</answer>", word_s=0.005))
    order: list[int] = []

    def go(number: int) -> None:
        for _ in Session(model, Video(path=video)).ask(Question("what?")):
            order.append(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    changes = sum(a != b for a, b in pairwise(order))
    assert changes > 20
