"""`facepass verify`: compares topics, ledger, rows and the shards of running replicas."""
