"""The interface described for programs, as OpenAPI."""
