"""Seeded changes to a bundle: what an accident, a careless maker or an attacker would do to it.

A mutation takes the tar stream of a sound bundle and gives the bytes of a tarball. Those of
`TARBALL` change the compressed file, those of `STREAM` the tar inside, by whole members where they
can: a header keeps a right checksum, so that nothing is refused for a clumsy reason.
"""

import random
import tarfile
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from tests.support.bundles import gzip_of

BLOCK: Final = 512
_END: Final = bytes(2 * BLOCK)
_EVIL_NAMES: Final = (
    "../evil",
    "/etc/evil",
    "{top}/../evil",
    "{top}/_internal/../../evil",
    "{top}/evil\n",
    "{top}/PUG-appliance",
    "{top}/evil",
    "evil",
)
_EVIL_TARGETS: Final = ("/etc/shadow", "../../../../etc/passwd", "pug-appliance", "../evil", ".")
_KINDS: Final = (
    tarfile.REGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
    tarfile.CONTTYPE,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_SPARSE,
    tarfile.GNUTYPE_LONGNAME,
)

Mutation = Callable[[bytes, random.Random], bytes]


def members_of(tar: bytes) -> list[bytes]:
    """The members of a tar stream, each with header, content and padding."""
    found: list[bytes] = []
    place = 0
    while tar[place : place + BLOCK].strip(b"\0"):
        size = int(tar[place + 124 : place + 135], 8)
        length = BLOCK + size + -size % BLOCK
        found.append(tar[place : place + length])
        place += length
    return found


def joined(members: list[bytes]) -> bytes:
    """The tarball of these members."""
    return gzip_of(b"".join(members) + _END)


def flipped(content: bytes, chance: random.Random) -> bytes:
    """One bit is another."""
    place = chance.randrange(len(content))
    changed = content[place] ^ (1 << chance.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def _name_of(member: bytes) -> str:
    return member[:100].rstrip(b"\0").decode()


def _edited(member: bytes, **changes: object) -> bytes:
    """The member with other fields in its header, and a right header checksum."""
    head = tarfile.TarInfo.frombuf(member[:BLOCK], "utf-8", "surrogateescape")
    for field, value in changes.items():
        setattr(head, field, value)
    return head.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + member[BLOCK:]


def flip_in_file(tar: bytes, chance: random.Random) -> bytes:
    return flipped(gzip_of(tar), chance)


def cut(tar: bytes, chance: random.Random) -> bytes:
    whole = gzip_of(tar)
    return whole[: chance.randrange(len(whole))]


def append(tar: bytes, chance: random.Random) -> bytes:
    return gzip_of(tar) + chance.randbytes(1 + chance.randrange(600))


def second_stream(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    return gzip_of(tar) + joined([chance.choice(members)])


def torn_stream(tar: bytes, chance: random.Random) -> bytes:
    """A gzip file of two members, which `gzip -d` reads as one."""
    place = chance.randrange(1, len(tar))
    return gzip_of(tar[:place]) + gzip_of(tar[place:])


def flip_in_stream(tar: bytes, chance: random.Random) -> bytes:
    return gzip_of(flipped(tar, chance))


def cut_stream(tar: bytes, chance: random.Random) -> bytes:
    return gzip_of(tar[: chance.randrange(len(tar) - 1)])


def remove_member(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    del members[chance.randrange(len(members))]
    return joined(members)


def repeat_member(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    members.insert(chance.randrange(len(members) + 1), chance.choice(members))
    return joined(members)


def move_member(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    first, second = chance.sample(range(len(members)), 2)
    members[first], members[second] = members[second], members[first]
    return joined(members)


def rename_member(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    place = chance.randrange(len(members))
    top = _name_of(members[0]).rstrip("/")
    name = chance.choice(_EVIL_NAMES).format(top=top)
    members[place] = _edited(members[place], name=name)
    return joined(members)


def retype_member(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    place = chance.randrange(len(members))
    now = tarfile.TarInfo.frombuf(members[place][:BLOCK], "utf-8", "surrogateescape").type
    kind = chance.choice([kind for kind in _KINDS if kind != now])
    members[place] = _edited(members[place], type=kind, linkname=chance.choice(_EVIL_TARGETS))
    return joined(members)


def edit_header(tar: bytes, chance: random.Random) -> bytes:
    members = members_of(tar)
    place = chance.randrange(len(members))
    field, value = chance.choice(
        [
            ("mode", 0o4755),
            ("mode", 0o777),
            ("mode", 0),
            ("uid", 1000),
            ("gid", 12),
            ("mtime", 1),
            ("uname", "nobody"),
            ("size", 1 << 33),
            ("size", 1),
            ("linkname", "/etc/passwd"),
        ]
    )
    members[place] = _edited(members[place], **{field: value})
    return joined(members)


def smuggle(tar: bytes, chance: random.Random) -> bytes:
    """One member more: a link, a device, a file, a pax header, anywhere."""
    members = members_of(tar)
    extra = tarfile.TarInfo(chance.choice(_EVIL_NAMES).format(top=_name_of(members[0]).rstrip("/")))
    extra.type = chance.choice(_KINDS)
    extra.linkname = chance.choice(_EVIL_TARGETS)
    extra.mode = 0o6777
    content = b""
    if extra.type in {tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE}:
        content = b"28 path=../../../tmp/evil12\n".ljust(BLOCK, b"\0")
        extra.size = 28
    member = extra.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content
    members.insert(chance.randrange(len(members) + 1), member)
    return joined(members)


def rewrite_manifest(tar: bytes, chance: random.Random) -> bytes:
    """The manifest says something else, in a valid form, under the old signature."""
    members = members_of(tar)
    place = next(i for i, one in enumerate(members) if b"manifest.json" in one[:100])
    size = int(members[place][124:135], 8)
    content = members[place][BLOCK : BLOCK + size]
    before, after = chance.choice(
        [
            (b'"release":', b'"release":9'),
            (b'"mode":"0755"', b'"mode":"0644"'),
            (b'"glibc":"2.', b'"glibc":"1.'),
            (b'"upgrades_from":', b'"upgrades_from":0'),
            (b'"path":"', b'"path":"../'),
            (b'"version":"', b'"version":"9'),
        ]
    )
    content = content.replace(before, after)
    head = _edited(members[place][:BLOCK], size=len(content))
    members[place] = head + content + bytes(-len(content) % BLOCK)
    return joined(members)


TARBALL: Final[Mapping[str, Mutation]] = {
    "bit of the file": flip_in_file,
    "cut file": cut,
    "something behind the file": append,
    "second tarball behind the file": second_stream,
    "two gzip members": torn_stream,
}
STREAM: Final[Mapping[str, Mutation]] = {
    "bit of the stream": flip_in_stream,
    "cut stream": cut_stream,
    "member missing": remove_member,
    "member twice": repeat_member,
    "members in another order": move_member,
    "other name": rename_member,
    "other kind": retype_member,
    "other header": edit_header,
    "member more": smuggle,
    "other manifest": rewrite_manifest,
}


def mixed(tar: bytes, other: bytes, chance: random.Random) -> bytes:
    """A bundle with one member of another release, put under the name this one has."""
    members, others = members_of(tar), {_tail(one): one for one in members_of(other)}
    places = [
        place
        for place, one in enumerate(members)
        if _tail(one) in others and one[BLOCK:] != others[_tail(one)][BLOCK:]
    ]
    place = chance.choice(places)
    stranger = others[_tail(members[place])]
    members[place] = _edited(stranger, name=_name_of(members[place]))
    return joined(members)


def _tail(member: bytes) -> str:
    return _name_of(member).partition("/")[2]


def recompressed(tar: bytes, chance: random.Random) -> bytes:
    """The same stream, packed in another way; nothing else differs."""
    level = chance.choice([0, 1, 3, 9])
    strategy = chance.choice([zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED])
    squeeze = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    body = squeeze.compress(tar) + squeeze.flush()
    sound = gzip_of(tar, level=1)
    return sound[:10] + body + sound[-8:]
