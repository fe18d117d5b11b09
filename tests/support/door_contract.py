"""An import-linter contract: rooms are entered by their doors."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class DoorContract(Contract):  # type: ignore[misc]  # import-linter's base has no types
    """A folder's files are imported by files of that folder and of those inside it; others take its `__init__`.

    Options:
        open_rooms: folders whose files are themselves what others may import, each by its own name.
    """

    type_name = "doors"

    open_rooms = fields.SetField(subfield=fields.StringField(), required=False, default=frozenset())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        """Find every import that reaches past a door."""
        past = [
            (importer, imported)
            for importer in sorted(graph.modules)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if self._reaches_past(graph, importer, imported)
        ]
        return ContractCheck(kept=not past, metadata={"past": past})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print them."""
        for importer, imported in check.metadata["past"]:
            room = imported.rpartition(".")[0]
            output.print_error(f"{importer} imports {imported}: import what you need from {room}", bold=False)

    def _reaches_past(self, graph: ImportGraph, importer: str, imported: str) -> bool:
        if graph.is_module_squashed(imported) or graph.find_children(imported):
            return False  # another package, or a door
        room = imported.rpartition(".")[0]
        open_rooms: Any = self.open_rooms
        return room not in open_rooms and importer != room and not importer.startswith(f"{room}.")
