"""From the text of a request to values, or to a Problem that says what is wrong."""
