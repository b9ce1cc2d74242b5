"""The report as a whole: notebooks executed, pages built, exhibits numbered, the PDF printed."""

import sys

# jsonschema, with which nbformat checks notebooks, would build grammars of internet addresses for
# over a second. No field of a notebook is checked to be one, and jsonschema does without them.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
