"""The place of the Python client. There is none yet: this package is empty.

Until then use HTTP (docs/http.md; examples/ shows how to handle every answer), or the command line.
"""
