"""A client's request on its way: coordinated, confirmed, answered."""
