"""One log line and one count for every refused key and token. Neither ever holds what was presented."""

from facepass.schemas import metrics
from facepass.schemas.logs import get_logger

_log = get_logger(__name__)


def note_refusal(reason: str, address: str, **named: str) -> None:
    """Log and count a refusal.

    Args:
        reason: a label of `refusals_total`.
        address: the client's, as counted.
        named: what else the log may say: a key's id, never the key.
    """
    metrics.refusals_total.labels(reason).inc()
    _log.warning("refused", reason=reason, address=address, **named)
