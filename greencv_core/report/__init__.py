"""Figures, tables and pages of the report; the names that every notebook uses are here.

Each is imported when it is first used: what builds the report draws nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greencv_core.report import figures
    from greencv_core.report.exhibits.exhibit import attach_runs
    from greencv_core.report.exhibits.labels import heading
    from greencv_core.report.exhibits.markdown import (
        bullet_list,
        code_block,
        paragraph,
        provenance_note,
    )
    from greencv_core.report.exhibits.tables import (
        conditions_table,
        pairs_table,
        show_if_any,
        show_table,
    )
    from greencv_core.report.exhibits.theme import apply_theme

__all__ = [
    "apply_theme", "attach_runs", "bullet_list", "code_block", "conditions_table", "figures",
    "heading", "pairs_table", "paragraph", "provenance_note", "show_if_any", "show_table",
]  # fmt: skip

_MODULES = ("exhibits.exhibit", "exhibits.labels", "exhibits.markdown", "exhibits.tables",
            "exhibits.theme")  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "figures":
        return importlib.import_module(f"{__name__}.figures")
    if name in __all__:
        modules = (importlib.import_module(f"{__name__}.{module}") for module in _MODULES)
        return next(getattr(module, name) for module in modules if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
