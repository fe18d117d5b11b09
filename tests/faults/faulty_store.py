"""S3 by moto's server, behind a proxy of the suite's own that fails as object stores fail."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import boto3
from faults.loop_thread import LoopThread
from faults.pictures import Picture
from moto.server import ThreadedMotoServer

BUCKET, PREFIX = "photos", "studio/"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "fault-suite",
    "AWS_SECRET_ACCESS_KEY": "fault-suite",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

FAULTS = ("404", "403", "500", "503", "stall", "stall in the body", "truncated", "too long", "endless", "reset")


@dataclass(slots=True)
class FaultyStore:
    """Answers on `port` as S3 does, but for the keys that have a fault.

    Attributes:
        faults: key (without the prefix) to the fault, and until when (monotonic seconds) it lasts.
        asked: how often each key was asked for.
    """

    port: int
    target: int
    faults: dict[str, tuple[str, float]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """For a process of FacePass."""
        return {
            "FACEPASS_PHOTOS": f"s3://{BUCKET}/{PREFIX}",
            "FACEPASS_S3_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "FACEPASS_S3_REGION": CREDENTIALS["AWS_DEFAULT_REGION"],
            **CREDENTIALS,
        }

    def fail(self, key: str, fault: str, *, seconds: float = 3600.0) -> None:
        self.faults[key] = (fault, time.monotonic() + seconds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: the head is read, the answer comes from moto or from the fault."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            key = head.split(b" ", 2)[1].decode().partition("?")[0].partition(f"/{BUCKET}/{PREFIX}")[2]
            self.asked[key] = self.asked.get(key, 0) + 1
            fault, until = self.faults.get(key, ("", 0.0))
            answer = await self._from_moto(head)
            await _answer(writer, answer, fault if time.monotonic() < until else "")
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _from_moto(self, head: bytes) -> bytes:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            back.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return await there.read()
        finally:
            back.close()


async def _answer(writer: asyncio.StreamWriter, answer: bytes, fault: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = f"Content-Length: {len(body)}".encode()
    match fault:
        case "404" | "403" | "500" | "503":
            code = {"404": "NoSuchKey", "403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}[fault]
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planted</Message></Error>".encode()
            writer.write(f"HTTP/1.1 {fault} planted\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        case "stall":
            await asyncio.sleep(600)
        case "stall in the body":
            writer.write(head + b"\r\n\r\n" + body[: len(body) // 2])
            await asyncio.sleep(600)
        case "truncated":
            writer.write(head + b"\r\n\r\n" + body[: len(body) // 2])
        case "too long":
            writer.write(_with_length(head, len(body) // 2) + b"\r\n\r\n" + body)
        case "endless":
            writer.write(_with_length(head, None) + b"\r\n\r\n" + body)
            while True:
                writer.write(b"\0" * 65_536)
                await writer.drain()
        case "reset":
            writer.transport.abort()
        case _:
            assert not body or length.lower() in head.lower(), head
            writer.write(answer)
    if not writer.is_closing():
        await writer.drain()


def _with_length(head: bytes, length: int | None) -> bytes:
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*lines, *([] if length is None else [f"Content-Length: {length}".encode()])])


@contextmanager
def faulty_store(loop: LoopThread, pictures: Mapping[str, Picture]) -> Iterator[FaultyStore]:
    """moto's server with the pictures in it, and the proxy before it."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    target = int(moto.get_host_and_port()[1])
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{target}",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for picture in pictures.values():
        if picture.data is not None:
            client.put_object(Bucket=BUCKET, Key=PREFIX + picture.key, Body=picture.data)
    store = FaultyStore(port=0, target=target)
    server = loop.run(asyncio.start_server(store.serve, "127.0.0.1", 0, limit=1 << 20))
    store.port = server.sockets[0].getsockname()[1]
    try:
        yield store
    finally:
        server.close()
        moto.stop()
