"""The sections of `upkeep.yaml`: each key with its type, its default and what can be checked of it alone.

What belongs here: the keys (a contract: files of people depend on them, none is ever renamed). What does not: finding
and reading the file, and what must fit between sections (`config.py`); anything that acts on a setting.
"""
