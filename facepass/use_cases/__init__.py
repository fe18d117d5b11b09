"""What needs rows and events: a deletion until it is done, an outcome that is waited for, what a call asks for.

Publishes through the port `EventPublisher` and never imports a Kafka client, nor anything of HTTP.
"""

from facepass.use_cases.erasure import Receipt, Target, erase, forget_receipts
from facepass.use_cases.index_plans import Plan, events, make_plan
from facepass.use_cases.outcomes import Outcome, Outcomes

__all__ = [
    "Outcome",
    "Outcomes",
    "Plan",
    "Receipt",
    "Target",
    "erase",
    "events",
    "forget_receipts",
    "make_plan",
]
