"""The exception of an interrupted run. This module imports nothing, so a signal can raise it before JAX is loaded."""

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again


class Interrupted(BaseException):
    """A run was interrupted; it was saved if it had started.

    Not a KeyboardInterrupt: one that passes through ``exec`` ends the Python process.
    """
