"""The parts that dev, demo, tests and the benchmark run on one machine: PostgreSQL, a broker, child processes.

Nothing of it is needed, or imported, by a process in production. What it needs of other packages is the extra
`local`.
"""

from facepass.local.children import Child, last_lines, start_child, stop_children
from facepass.local.dev import run_dev
from facepass.local.extra import check_extra
from facepass.local.kafka_kinds import KafkaKind, check_kind, local_kafka
from facepass.local.ports import free_port
from facepass.local.postgres import DATABASE, embedded_postgres
from facepass.local.sample_files import group_file, scikit_image_file
from facepass.local.stack import Stack, StackOptions, local_stack, process_environment

__all__ = [
    "DATABASE",
    "Child",
    "KafkaKind",
    "Stack",
    "StackOptions",
    "check_extra",
    "check_kind",
    "embedded_postgres",
    "free_port",
    "group_file",
    "last_lines",
    "local_kafka",
    "local_stack",
    "process_environment",
    "run_dev",
    "scikit_image_file",
    "start_child",
    "stop_children",
]
