"""Search path of a benchmark that runs as a script; to be imported first.

Python searches the folder of a script first, where ``statistics.py`` hides the standard library's
module of that name. This module replaces the folder by the repository's root.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
sys.path[:] = [str(ROOT), *(path for path in sys.path if Path(path).resolve() != FOLDER)]
