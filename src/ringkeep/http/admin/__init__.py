"""All routes but the data routes, on Starlette: status, operators, metrics, pages."""
