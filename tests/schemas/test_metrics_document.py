"""docs/metrics.md has every metric of the module, and no other, as Prometheus shows it."""

import re
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from facepass.schemas import metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
PROCESSES = {"intake", "ingest", "serve"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`labels` in their order."""

    kind: str
    labels: tuple[str, ...]
    meaning: str


def _defined() -> dict[str, Metric]:
    """By the name that Prometheus shows, which for a counter ends in `_total`."""
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (described,) = metric.describe()
            name = described.name + ("_total" if described.type == "counter" else "")
            labels = tuple(metric._labelnames)  # the library has no other way to ask
            found[name] = Metric(kind=described.type, labels=labels, meaning=described.documentation)
    return found


def _rows() -> list[list[str]]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _documented() -> dict[str, Metric]:
    return {
        name.strip("`"): Metric(kind=kind, labels=tuple(re.findall(r"`(\w+)`", labels)), meaning=meaning)
        for name, kind, labels, _, meaning in _rows()
    }


def test_a_metric_of_the_module_is_named_there_as_in_the_module() -> None:
    for metric in vars(metrics):
        if isinstance(getattr(metrics, metric), MetricWrapperBase):
            assert metric in _defined(), f"{metric} is shown by another name"


def test_the_tables_have_every_metric_once_and_no_other() -> None:
    names = [row[0].strip("`") for row in _rows()]
    assert sorted(names) == sorted(_defined())


def test_types_and_labels_are_those_of_the_module() -> None:
    documented = {name: (one.kind, one.labels) for name, one in _documented().items()}
    assert documented == {name: (one.kind, one.labels) for name, one in _defined().items()}


def test_a_meaning_begins_with_the_metrics_own_help_text() -> None:
    documented = _documented()
    for name, metric in _defined().items():
        assert documented[name].meaning.startswith(metric.meaning), name


def test_every_metric_is_some_processs() -> None:
    for name, _, labels, processes, _ in _rows():
        assert processes.split(", "), name
        assert set(processes.split(", ")) <= PROCESSES, name
        assert labels == "none" or "`" in labels, name
