"""The meaning of Kafka's errors, said once."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError

_REFUSALS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)


@contextmanager
def kafka_errors() -> Iterator[None]:
    """Translate what aiokafka raises.

    Raises:
        PermanentError: `event_refused`, Kafka will answer the same call in the same way.
        TransientError: `broker_unavailable`, everything else. The class's name alone is repeated: the text of
            some of these errors holds the record.
    """
    try:
        yield
    except _REFUSALS as exc:
        raise PermanentError(ErrorCode.EVENT_REFUSED, f"Kafka refuses: {type(exc).__name__}") from exc
    except (KafkaError, OSError, TimeoutError) as exc:
        raise TransientError(ErrorCode.BROKER_UNAVAILABLE, f"Kafka does not answer: {type(exc).__name__}") from exc
