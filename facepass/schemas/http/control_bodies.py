"""The bodies of a serving process's control port: what it holds, for the operator's own tools. Never a vector."""

from facepass.schemas.http.body import AnswerModel


class HeldShard(AnswerModel):
    """A shard in memory. `photos`: with at least one face."""

    session_id: str
    revision: int
    faces: int
    photos: int


class HeldShards(AnswerModel):
    """All shards of one process, which belong to one generation."""

    replica_id: str
    generation: int
    shards: list[HeldShard]


class ShardContents(HeldShard):
    """A session's faces at one revision, in a shard or in the database's rows.

    Attributes:
        digest: the same for the same faces in any order: over photo id, number of the face, confidence, box and
            the vector's bits. 32 hexadecimal digits.
    """

    digest: str


class Reloaded(AnswerModel):
    """The outcome of a reload: the shard held before is gone, and whether the session's was loaded anew."""

    dropped: bool
    loaded: bool
