"""Work on rows and events: a deletion until it is done, a result that is waited for, what a call asks for.

Publishes through the port `EventPublisher` and never imports a Kafka client, nor anything of HTTP.
"""

from facepass.use_cases.erasure import Receipt, Target, erase
from facepass.use_cases.idempotent_call import FirstAnswer, IdempotentCall, first_answer, hash_of
from facepass.use_cases.index_plans import Plan, events, make_plan
from facepass.use_cases.photo_results import PhotoResult, PhotoResults

__all__ = [
    "FirstAnswer",
    "IdempotentCall",
    "PhotoResult",
    "PhotoResults",
    "Plan",
    "Receipt",
    "Target",
    "erase",
    "events",
    "first_answer",
    "hash_of",
    "make_plan",
]
