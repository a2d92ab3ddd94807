"""Where mail jobs are on the queue [workers 2].

Invariant: a job holds a secret of a person, so `WorkSource.forget` removes it as soon as it is
settled (decision 0020).
"""

from typing import Final

EMAIL_STREAM: Final = "misc"
EMAIL_SUBJECT: Final = "misc.email.jobs"
EMAIL_DURABLE: Final = "misc-email-processor"
EMAIL_WORKER: Final = "email"
"""The name of the worker and its process."""
