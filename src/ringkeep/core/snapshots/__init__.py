"""The whole state of a replica, sent to another node and taken in there."""
