"""Every route that is not hot, on Starlette: status, operators, metrics, pages."""
