"""Shared by the multiple-choice benchmarks: lettered options, and subtitles from their files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from timesight.data.sources.files import field, files_present, read_json
from timesight.errors import InputError, SampleError
from timesight.files import read_text

LETTERED = re.compile(r"\(?[A-Z][.)]\s*")


def plain_options(options: Iterable[object]) -> list[str]:
    """Remove the letters that some files write before options (``A. text``, ``(A) text``), if all have theirs."""
    texts = [str(option) for option in options]
    lettered = all(re.match(rf"\(?{chr(ord('A') + n)}[.)]", text) for n, text in enumerate(texts))
    return [LETTERED.sub("", text, count=1) for text in texts] if lettered else texts


def lettered_answer(answer: object, options: list[str]) -> int:
    """Index of the option that ``answer`` names by a letter.

    Returns:
        Index from 0; ``len(options)`` or more if it is none of them, which becomes a problem of the sample.
    """
    text = str(answer).strip(" ().").upper()
    return ord(text) - ord("A") if len(text) == 1 and "A" <= text <= "Z" else len(options)


def worded_answer(answer: object, options: list[str]) -> int:
    """Index of the option that ``answer`` names by its text.

    Returns:
        Index from 0; ``len(options)`` if it is none of them, which becomes a problem of the sample.
    """
    return options.index(str(answer)) if str(answer) in options else len(options)


def subtitle_files(annotations: Path, folder: str, names: Iterable[str]) -> dict[str, Path]:
    """Find files of subtitles in a folder next to the annotations, and name missing ones in a warning.

    Args:
        annotations: Folder of the official files.
        folder: Name of the folder of subtitles in it.
        names: Of the files.

    Returns:
        The files that exist, by name.

    Raises:
        InputError: If there is no such folder.
        SampleError: If it holds none of the files.
    """
    place = annotations / folder
    if not place.is_dir():
        raise InputError(f"{place}: no such folder of subtitles; put it there, or read without subtitles=True")
    return files_present(place, {name: (name,) for name in names}, "files of subtitles")


def srt_subtitles(file: Path | None) -> list[dict[str, Any]]:
    """Read the subtitles of an .srt file.

    Args:
        file: None for a video that has none.

    Returns:
        ``text``, ``start_s`` and ``end_s`` of each, in seconds from the start of the video.

    Raises:
        SampleError: If it is not an .srt file.
        InputError: If ``pysubs2`` is not installed.
    """
    if file is None:
        return []
    try:
        import pysubs2
    except ImportError:
        raise InputError(f"{file}: .srt files need pysubs2: pip install timesight[data]") from None
    try:
        lines = pysubs2.SSAFile.from_string(read_text(file), format_="srt")
    except (pysubs2.Pysubs2Error, ValueError) as error:
        raise SampleError(f"{file}: is not an .srt file ({error})") from None
    return [
        {"text": " ".join(line.plaintext.split()), "start_s": line.start / 1000, "end_s": line.end / 1000}
        for line in lines
        if line.plaintext.strip()
    ]


def json_subtitles(file: Path | None, offset_s: float, duration_s: float) -> list[dict[str, Any]]:
    """Read subtitles as LongVideoBench writes them.

    Items are ``{timestamp: [start, end], text}`` or ``{start, end, line}`` with clock times; a null ``end`` is the
    end of the clip. A file holds those of the longer video that the clip was cut from: subtitles outside of the
    clip are left out.

    Args:
        file: None for a video that has none.
        offset_s: Start of the clip in the longer video, in seconds, which is subtracted.
        duration_s: Of the clip.

    Returns:
        ``text``, ``start_s`` and ``end_s`` of each, in seconds from the start of the clip.

    Raises:
        SampleError: If the file is not of this form.
    """
    if file is None:
        return []
    subtitles = []
    for index, item in enumerate(read_json(file, list)):
        where = f"{file} item {index}"
        start, end, text = _subtitle(where, item)
        start_s = max(0.0, seconds(where, start) - offset_s)
        end_s = duration_s if end is None else seconds(where, end) - offset_s
        if end_s > 0 and start_s < duration_s and text:
            subtitles.append({"text": text, "start_s": start_s, "end_s": min(end_s, duration_s)})
    return subtitles


def _subtitle(where: str, item: object) -> tuple[object, object, str]:
    """Start, end and text of a subtitle in either form. Raises SampleError."""
    if isinstance(item, dict) and "line" in item:
        return field(where, item, "start"), field(where, item, "end"), str(item["line"]).strip()
    times = field(where, item, "timestamp", list)
    if len(times) != 2:
        raise SampleError(f"{where}: timestamp is not a start and an end")
    return times[0], times[1], str(field(where, item, "text")).strip()


def seconds(where: str, value: object) -> float:
    """Convert ``12.5``, ``"12.5"`` or ``"00:01:02.500"`` to seconds.

    Args:
        where: Names the record in error messages.
        value: Seconds, minutes and seconds, or hours, minutes and seconds.

    Raises:
        SampleError: If it is no time.
    """
    try:
        pieces = [float(piece) for piece in str(value).split(":")]
    except ValueError:
        pieces = []
    if not 1 <= len(pieces) <= 3:
        raise SampleError(f"{where}: {value!r} is not a time")
    total_s = 0.0
    for piece in pieces:
        total_s = 60 * total_s + piece
    return total_s
