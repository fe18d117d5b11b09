"""Every contract between the parts: ids, events, faces, ledger, HTTP bodies, errors, settings, metrics, logs.

Imports nothing else of FacePass.
"""
