"""The CipherStorage API in Python: spec parsing, conditions, names, reasons. Standard library only."""
