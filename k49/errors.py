"""The one exception for what a user can put right."""


class K49Error(Exception):
    """Bad input or a failed step. The message is one line: what is wrong, where, what to do."""
