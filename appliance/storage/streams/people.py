"""Where messages about people are on the queue [workers 2].

Invariant: three subjects of one stream, each with a durable consumer of its own.
"""

from typing import Final

PROFILES_STREAM: Final = "profiles"
IDENTIFY_SUBJECT: Final = "profiles.identify"
IDENTIFY_DURABLE: Final = "profile-identify-processor-durable"
ALIAS_SUBJECT: Final = "profiles.alias"
ALIAS_DURABLE: Final = "profile-alias-processor-durable"
UPSERT_SUBJECT: Final = "profiles.upsert"
UPSERT_DURABLE: Final = "profile-upsert-processor-durable"
