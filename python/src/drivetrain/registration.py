"""The ids under which Gymnasium finds our environments.

``import drivetrain`` stays light and makes them known all the same, whichever package is imported first: if Gymnasium
is there already, at once; else right after its import, by a finder in ``sys.meta_path`` that waits for nothing else.
(Gymnasium loads no plugin entry points any more since its version 1.0.)
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

DRIVING = "drivetrain/Driving-v0"
"""One world for ``gymnasium.make``, many for ``gymnasium.make_vec``."""


def register_with_gymnasium() -> None:
    """Make the ids known to Gymnasium, now or as soon as somebody imports it."""
    gymnasium = sys.modules.get("gymnasium")
    if gymnasium is not None:
        _register(gymnasium)
    elif not any(isinstance(finder, _GymnasiumImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GymnasiumImport())


def _register(gymnasium: ModuleType) -> None:
    if DRIVING not in gymnasium.registry:
        gymnasium.register(
            id=DRIVING,
            entry_point="drivetrain.trainer.make_env:make_world",
            vector_entry_point="drivetrain.trainer.make_env:make_vector",
        )


class _GymnasiumImport:
    """Lets the other finders find Gymnasium, and registers once its module has been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of Gymnasium; None for every other module."""
        if name != "gymnasium":
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register(module)

            spec.loader.exec_module = execute_and_register
        return spec
