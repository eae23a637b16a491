"""A running cluster seen from outside: asked, watched, waited for."""
