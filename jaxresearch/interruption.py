"""The exception of an interrupted run; it imports nothing, so that a signal can raise it before JAX is there."""

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again


class Interrupted(BaseException):
    """A run was interrupted, and saved if it had started.

    Not a KeyboardInterrupt: where that passes through ``exec``, Python ends the process by it.
    """
