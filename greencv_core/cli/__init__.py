"""The command greencv, one module a command."""
