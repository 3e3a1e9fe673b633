"""The studio: a page, its styles and its modules, served as they are. `modules.py` fetches what `js/` imports."""

from pathlib import Path

__all__ = ["FOLDER"]

FOLDER = Path(__file__).resolve().parent
