"""A user's settings, files and folders that must change nothing in a report."""

import json
import subprocess

MODULES = ("random", "numpy", "torch", "yaml", "socket", "signal", "pandas", "logging", "string")
"""Modules that Python, greencv or Jupyter import, and that a folder may have as files."""


def shadow_modules(folder):
    """Write files with the names of modules into a folder; return the file that they leave."""
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / "executed"
    for name in MODULES:
        code = f"open({str(left)!r}, 'a').write('{name} ')\nraise SystemExit('of {name}.py')\n"
        (folder / f"{name}.py").write_text(code)
    return left


def hostile_settings(folder):
    """Write a home folder full of settings; return the variables that lead to them.

    Any start-up file or kernel that is used ends the process that uses it.
    """
    home = folder / "home"
    ends = "raise SystemExit('a setting of the user was executed')\n"
    config = "c = get_config()\nc.InteractiveShellApp.exec_lines = ['raise SystemExit(1)']\n"
    kernel = json.dumps({"argv": ["false"], "display_name": "Other", "language": "python"})
    style = (
        "text.usetex: True\nbackend: TkAgg\nfont.family: serif\nfont.size: 30\nfigure.dpi: 30\n"
        "savefig.dpi: 30\nsavefig.bbox: tight\nlines.linewidth: 9\nsvg.fonttype: path\n"
        "path.simplify: False\naxes.unicode_minus: False\naxes.formatter.limits: -1, 1\n"
    )
    files = {
        ".config/matplotlib/matplotlibrc": style,
        ".ipython/profile_default/startup/00.py": ends,
        ".ipython/profile_default/ipython_kernel_config.py": config,
        ".jupyter/jupyter_config.py": ends,
        ".jupyter/jupyter_nbclient_config.py": ends,
        ".local/share/jupyter/kernels/python3/kernel.json": kernel,
        "jupyter/kernels/python3/kernel.json": kernel,
        "startup.py": ends,
        "docutils.conf": "[general]\nsmart_quotes: yes\n",
        ".docutils": "[general]\nsmart_quotes: yes\n",
        "long" * 40 + "/empty": "",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", home / "other"], check=True)
    return {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"),
        "MATPLOTLIBRC": str(home / ".config/matplotlib/matplotlibrc"), "MPLBACKEND": "TkAgg",
        "IPYTHONDIR": str(home / ".ipython"), "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        "JUPYTER_PATH": str(home / "jupyter"), "JUPYTER_PREFER_ENV_PATH": "0",
        "GIT_DIR": str(home / "other" / ".git"), "SOURCE_DATE_EPOCH": "",
        "PYTHONOPTIMIZE": "2", "PYTHONSTARTUP": str(home / "startup.py"),
        "PYTHONWARNINGS": "always", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "7", "LC_ALL": "POSIX", "LANGUAGE": "de",
        "TZ": "Asia/Tokyo", "COLUMNS": "20", "FORCE_COLOR": "1",
        "TMPDIR": str(home / ("long" * 40)),
    }  # fmt: skip
