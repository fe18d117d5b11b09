"""Faust set up so that only consuming is left of it: no tables, no topics of its own, no web server, no files."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import faust

from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.embedded_fetch import EmbeddedBrokerTransport
from facepass.streams.kafka.offset_tracking import OffsetTrackingTransport

_DAY = 86_400.0
_STOP_SECONDS = 3.0
"""A broker that is gone cannot be told good-bye."""

Agent = Callable[[Any], Awaitable[None]]
"""Takes a Faust stream and returns only when the worker stops."""


class _App(faust.App):
    """A Faust app that keeps nothing on disk."""

    async def on_first_start(self) -> None:
        """Faust would create folders for its tables here; there are none."""


_App.logger = logging.getLogger("faust")
"""Its own lines are the library's, and as quiet: by default they would bear this module's name."""


def new_app(
    settings: KafkaSettings, *, app_id: str, buffered: int, newest_only: bool = False, fetch_often: bool = False
) -> faust.App:
    """Build a Faust app; its id is the name of its consumer group.

    Args:
        settings: where Kafka is and how soon a silent member is given up.
        app_id: the consumer group.
        buffered: records held in memory for each agent before fetching pauses; about two batches.
        newest_only: a group without offsets begins at the end of each topic, not at the beginning.
        fetch_often: somebody waits for each record: on the embedded broker, fetch it sooner at some cost.
    """
    session = settings.session_timeout_seconds
    app = _App(
        app_id,
        broker=[f"kafka://{address.strip()}" for address in settings.kafka.split(",")],
        autodiscover=False,
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="latest" if newest_only else "earliest",
        broker_session_timeout=session,
        broker_rebalance_timeout=session,
        broker_heartbeat_interval=session / 6,
        broker_request_timeout=max(90.0, session),
        # When this passes with a full buffer aiokafka leaves the group and was seen never to come back.
        broker_max_poll_interval=_DAY,
        broker_commit_interval=1.0,
        stream_buffer_maxsize=buffered,
        # Else a stop, and every rebalance, waits without end for a batch that an outage holds.
        stream_wait_empty=False,
        # Faust's own warnings about slow agents: an outage that holds the loop is no fault of the agent.
        stream_processing_timeout=_DAY,
        broker_commit_livelock_soft_timeout=_DAY,
    )
    embedded = not settings.kafka_idempotence
    transport = EmbeddedBrokerTransport if fetch_often and embedded else OffsetTrackingTransport
    app.transport = transport(app.conf.broker_consumer, app)
    return app


def add_agent(app: faust.App, topic: str, agent: Agent, *, on_error: Callable[[Exception], None]) -> None:
    """Let `agent` consume `topic`, raw bytes, alone: with more at once Faust can commit past an unfinished event.

    What leaves the agent is handed to `on_error`, once, and the topic is not read further: Faust itself would
    log it, start the agent anew and go on past the events that it left unfinished. So is a cancellation that does
    not come from the end of Faust itself.
    """

    async def watched(stream: Any) -> None:
        try:
            await agent(stream)
            on_error(RuntimeError(f"the agent of {topic} returned"))
        except Exception as exc:
            on_error(exc)
        except asyncio.CancelledError:
            if not app.should_stop:
                on_error(RuntimeError(f"the agent of {topic} was cancelled although nothing was to stop"))
            raise
        await asyncio.Event().wait()

    channel = app.topic(topic, key_type=bytes, value_type=bytes, allow_empty=True, internal=False)
    # Faust runs it in a task of its own when the app starts.
    app.agent(channel, name=f"consume-{topic}", concurrency=1)(watched)


async def stop_app(app: faust.App) -> bool:
    """Commit what is acknowledged and leave the group; False if that did not end within a few seconds."""
    stopping = asyncio.create_task(app.stop())
    # Not `wait_for`: Faust's services swallow the cancellation and wait on.
    done, _ = await asyncio.wait([stopping], timeout=_STOP_SECONDS)
    return bool(done)
