"""How the embedded model `tiny` is made: material, training, evaluation.

Run `python -m recipes.tiny.build` in the repository root.
"""
