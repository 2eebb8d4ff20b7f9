"""Exit codes of the commands, which schedulers and the programs that start them read."""

import signal

FAILED = 1
# EX_TEMPFAIL of sysexits.h, "try again later": what schedulers are told to start again.
REQUEUE = 75
INTERRUPTED = 128 + signal.SIGINT
# Of a run that a signal stopped, with a checkpoint.
STOPPED = (REQUEUE, INTERRUPTED)
