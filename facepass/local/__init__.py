"""The embedded parts of `facepass dev`, `facepass demo` and the tests: PostgreSQL, a broker, child processes."""
