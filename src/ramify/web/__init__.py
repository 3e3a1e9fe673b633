"""The studio: a page, its styles and its modules, served as they are. `js/` is what runs; `modules.py` fetches what it imports."""

from pathlib import Path

__all__ = ["FOLDER"]

FOLDER = Path(__file__).resolve().parent
