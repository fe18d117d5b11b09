"""What needs rows and events: a deletion until it is done, an outcome that is waited for, what a call asks for.

Publishes through the port `EventPublisher` and never imports a Kafka client, nor anything of HTTP.
"""

from facepass.use_cases.erasure import Receipt, Target, erase, forget_receipts
from facepass.use_cases.idempotent_call import FirstAnswer, IdempotentCall, first_answer, hash_of
from facepass.use_cases.index_plans import Plan, events, make_plan
from facepass.use_cases.outcomes import Outcome, Outcomes, read_photos

__all__ = [
    "FirstAnswer",
    "IdempotentCall",
    "Outcome",
    "Outcomes",
    "Plan",
    "Receipt",
    "Target",
    "erase",
    "events",
    "first_answer",
    "forget_receipts",
    "hash_of",
    "make_plan",
    "read_photos",
]
