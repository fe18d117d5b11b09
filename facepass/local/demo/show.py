"""The demo from start to end."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from facepass.local.demo.contact_sheet import Band, write_contact_sheet
from facepass.local.demo.photo_host import photo_host
from facepass.local.demo.publishing import SESSION_ID, publish, wait_until_settled
from facepass.local.demo.samples import Sample, Selfie, Session, write_samples
from facepass.local.dev import stop_on_signals, watch
from facepass.local.kafka_kinds import KafkaKind
from facepass.local.ports import free_port
from facepass.local.stack import Stack, StackOptions, local_stack
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError
from facepass.schemas.http.search_bodies import SearchAnswer
from facepass.schemas.ids import check_id
from facepass.schemas.ledger import PhotoState
from facepass.storage.reads import PhotoRow

_HOST = "127.0.0.1"
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_STOPPED = 130
"""Exit status of a program that Ctrl-C ended before it was done (128 + SIGINT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    selfie: Selfie
    answer: SearchAnswer


def run_demo(*, photos: Path | None, selfies: Sequence[Path], output: Path, kafka: KafkaKind, stay: bool) -> int:
    """Run the demo; with `stay` until Ctrl-C.

    Args:
        photos, selfies: the user's own; None and empty for the samples.

    Returns:
        The exit status: 0 when all went well and every sample selfie found exactly its photos.

    Raises:
        FacePassError: a part failed.
    """
    console, status = Console(), _STOPPED
    with stop_on_signals(), ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="facepass-demo-")))
        session = _own(photos, selfies) if photos else write_samples(directory)
        options = StackOptions(
            host=_HOST,
            port=free_port(_HOST),
            kafka_port=free_port(_HOST),
            data_dir=directory / "data",
            photos=str(session.photos_dir),
            kind=kafka,
            settings=opened.enter_context(photo_host(_files(session))),
        )
        stack = opened.enter_context(local_stack(options, report=console.print))
        status = 0 if _show(console, stack, session, output) else 1
        if stay:
            console.print("\nFacePass stays up; Ctrl-C ends it.")
            watch(stack)
    return status


def _show(console: Console, stack: Stack, session: Session, output: Path) -> bool:
    """Index, search, print, draw; whether all of it went as it must."""
    settled = _index(console, stack, session.samples)
    good = _report_states(console, settled, strict=session.selfies[0].expected is not None)
    revision = max((row.revision for row in settled.values()), default=0)
    files = _files(session)
    bands = []
    for selfie in session.selfies:
        try:
            found = _Found(selfie=selfie, answer=_search(stack, selfie.path, revision=revision))
        except FacePassError as error:
            console.print(Text(f"selfie: {selfie.name}: {error.message} [{error.code}]", style="red"))
            good = False
            continue
        console.print(_table(found, settled))
        good = _report_expected(console, found) and good
        bands.append(_band(found, files))
    if bands:
        write_contact_sheet(bands, output)
        console.print(f"\ncontact sheet      {output.resolve()}", soft_wrap=True, markup=False)
    console.print(f"selfie page        {stack.http}/api/v1/sessions/{SESSION_ID}/interface", soft_wrap=True)
    console.print(f"API documentation  {stack.http}/docs", soft_wrap=True)
    console.print(f"OpenAPI document   {stack.http}/openapi.json", soft_wrap=True)
    return good


def _files(session: Session) -> Mapping[str, Path]:
    return {sample.photo_id: session.photos_dir / sample.s3_key for sample in session.samples}


def _index(console: Console, stack: Stack, samples: Sequence[Sample]) -> Mapping[str, PhotoRow]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"indexing {len(samples)} photos", total=len(samples))
        events = asyncio.run(publish(stack, samples))
        return asyncio.run(
            wait_until_settled(stack, events, progress=lambda done: progress.update(task, completed=done))
        )


def _search(stack: Stack, selfie: Path, *, revision: int) -> SearchAnswer:
    """Search as any client does, for an answer that reflects all that was indexed."""
    with httpx.Client(trust_env=False, timeout=60.0) as client:
        answer = client.post(
            f"{stack.http}/api/v1/search",
            files={"file": (selfie.name, selfie.read_bytes())},
            data={"session_id": SESSION_ID, "min_revision": str(revision), "wait_ms": "10000"},
        )
    if answer.is_error:
        error = answer.json()
        raise PermanentError(ErrorCode(error["code"]), error["message"])
    return SearchAnswer.model_validate_json(answer.content)


def _report_states(console: Console, settled: Mapping[str, PhotoRow], *, strict: bool) -> bool:
    """One line on what became of the photos; with `strict` a failed one is a failure of the demo."""
    states = [row.state for row in settled.values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in PhotoState if state in states)
    console.print(f"{len(settled)} photos: {counted}")
    failed = {photo_id: row.error for photo_id, row in settled.items() if row.state is PhotoState.FAILED}
    for photo_id, error in failed.items():
        console.print(f"  {photo_id}: {error}", markup=False)
    return not (strict and failed)


def _table(found: _Found, settled: Mapping[str, PhotoRow]) -> Table:
    answer = found.answer
    table = Table(
        title=f"selfie: {found.selfie.name} ({answer.total_matches} photos, {answer.query_time_ms:.0f} ms)",
        title_justify="left",
    )
    table.add_column("photo", overflow="fold")
    for column in ("similarity", "confidence", "faces"):
        table.add_column(column, justify="right")
    for match in answer.matches:
        faces = settled[match.photo_id].faces_detected
        table.add_row(match.photo_id, f"{match.similarity:.3f}", f"{match.confidence:.3f}", str(faces))
    return table


def _report_expected(console: Console, found: _Found) -> bool:
    if found.selfie.expected is None:
        return True
    matched = {match.photo_id for match in found.answer.matches}
    missed, wrong = sorted(found.selfie.expected - matched), sorted(matched - found.selfie.expected)
    if missed:
        console.print(f"[red]missed: {', '.join(missed)}")
    if wrong:
        console.print(f"[red]wrong: {', '.join(wrong)}")
    if not missed and not wrong:
        console.print(f"[green]found all {len(matched)} photos of this person, and no other")
    return not missed and not wrong


def _band(found: _Found, files: Mapping[str, Path]) -> Band:
    matches = found.answer.matches
    return Band(
        title=found.selfie.name,
        selfie=found.selfie.path,
        matches=matches,
        photos=[files[match.photo_id] for match in matches],
    )


def _own(photos: Path, selfies: Sequence[Path]) -> Session:
    """The user's own photos, each by its path below the directory."""
    keys = sorted(
        file.relative_to(photos).as_posix() for file in photos.rglob("*") if file.suffix.lower() in _SUFFIXES
    )
    if not keys:
        raise PermanentError(ErrorCode.PHOTO_NOT_FOUND, f"--photos: {photos} has no JPEG, PNG or WebP files")
    samples = tuple(Sample(photo_id=check_id(key, "photo_id"), s3_key=key, people=frozenset()) for key in keys)
    return Session(
        photos_dir=photos,
        samples=samples,
        selfies=tuple(Selfie(name=path.name, path=path) for path in selfies),
    )
