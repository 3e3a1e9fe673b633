"""Batch jobs: many rows through one model, kept row by row in the workspace, so that a crash costs nothing that was done."""
