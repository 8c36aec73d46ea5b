"""Isolated tasks on the queue `tasks`: taken, executed and ended by workers of their own.

The owner of the run sends a message; a prefork worker takes the step by a guarded persist, with a lease of
its own in the step's `wake_at`. Its main process renews that lease (`renewing`), hears there of a cancel,
and kills what must end. The child executes and stores the end under the same guard (`taking`). The owner's
death does not touch it; the child's or the machine's costs one worker loss, once the lease is over.
"""
