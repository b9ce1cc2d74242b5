"""Figures, tables and pages of the report; the names that every notebook uses are here."""

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
