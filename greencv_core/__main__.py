"""``python -m greencv_core``: the command ``greencv`` where its script is not installed."""

from greencv_core.cli.app import entry

if __name__ == "__main__":
    entry()
