"""The verification: topics against the ledger, rows against counters, shards against rows. Changes nothing."""

from facepass.cli.verifying.verification_run import run_verify

__all__ = [
    "run_verify",
]
