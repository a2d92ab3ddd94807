"""Names and addresses as they may stand in a mail.

Invariant: nothing that people typed can begin a new header line or hide the rest of a sentence: no
control character survives, and what is cut is cut between characters [workers 4.4, 4.5].
"""

import unicodedata
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Final

NAME_BYTES_MAX: Final = 120


def clean_name(text: str) -> str:
    """A display name without control characters (a tab stays), at most 120 bytes [workers 4.5]."""
    kept = "".join(one for one in text if one == "\t" or unicodedata.category(one) != "Cc")
    return kept.encode(errors="replace")[:NAME_BYTES_MAX].decode(errors="ignore")


def clean_header(text: str) -> str:
    """A header's value without line breaks [workers 4.4]."""
    return text.replace("\r", "").replace("\n", "").strip()


def parse_address(text: str) -> Address | None:
    """The name and address in `Pug <pug@example.com>` or `pug@example.com`; None for neither."""
    name, address = parseaddr(clean_header(text))
    username, _, domain = address.partition("@")
    if not username or not domain or "@" in domain or any(one.isspace() for one in address):
        return None
    try:
        # In parts, because as a whole only ASCII is taken.
        return Address(display_name=name, username=username, domain=domain)
    except (ValueError, IndexError, MessageError):
        return None
