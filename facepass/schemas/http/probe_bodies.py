"""The bodies of the probes: whether a serving process works, and whether it may answer searches now."""

from typing import Literal

from pydantic import ConfigDict, Field

from facepass.schemas.http.body import AnswerModel


class HealthAnswer(AnswerModel):
    """The health of this process. Without the broker searches still work, so that alone is `degraded`."""

    status: Literal["healthy", "degraded", "unhealthy"] = Field(description="unhealthy comes with status 503")
    database: Literal["connected", "unavailable"]
    face_recognition_model: str = Field(description="the loaded model pack")
    broker: Literal["connected", "unavailable"]
    version: str = Field(description="of FacePass")
    uptime_seconds: float = Field(ge=0)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "database": "connected",
                    "face_recognition_model": "starter",
                    "broker": "connected",
                    "version": "0.1.0",
                    "uptime_seconds": 86400.5,
                }
            ]
        }
    )


class ReadyAnswer(AnswerModel):
    """The readiness of this process: whether it may answer searches now."""

    status: Literal["ready", "not_ready"] = Field(description="not_ready comes with status 503")
    lease: bool = Field(description="deletions are seen recently enough to answer")
    face_recognition_model: bool = Field(description="the model pack is loaded")
    database: bool = Field(description="PostgreSQL answers")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ready", "lease": True, "face_recognition_model": True, "database": True}]
        }
    )
