"""Data sets in and training sets out: files <-> store. It knows no engine and no HTTP.

In:   sources (which reader) → reading, json_records, table_records (records) → formats (entries) → importing, writing_in (store)
Out:  templates (what) → planning, selection (which) → formats (rows) → file_types, outputs, exporting (files)
Look: duplicates, readiness, readiness_page

A record is what stands in a file; an entry is a prompt with its answers; a row is one line of a training set.
"""
