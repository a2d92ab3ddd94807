"""A scripted child: it does what it is told over a pipe, one word a line, and nothing else.

Invariant: it never acts on time, only on words, so that tests need no sleeps. Words: `ready`
(announce), `say TEXT`, `exit N`, `ignore` (SIGTERM), `fork` (a grandchild that sleeps), `flood N`
(lines), `serve` (accept once on PUG_LISTEN_FD), `environment`, `identity`. Every word is answered
by one line; the first line is `up PID`.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

COMMANDS_VARIABLE = "CHILD_COMMANDS_FD"
ANSWERS_VARIABLE = "CHILD_ANSWERS_FD"


def main() -> None:
    """Obey until told to exit or until nobody is left to give orders."""
    commands = os.fdopen(int(os.environ[COMMANDS_VARIABLE]), "r", encoding="utf-8")
    answers = os.fdopen(int(os.environ[ANSWERS_VARIABLE]), "w", encoding="utf-8", buffering=1)
    answers.write(f"up {os.getpid()}\n")
    for line in commands:
        word, _, rest = line.strip().partition(" ")
        answers.write(obey(word, rest) + "\n")
    wait_for_ever()


def obey(word: str, rest: str) -> str:
    """Do one thing; the answer."""
    match word:
        case "ready":
            descriptor = int(os.environ["PUG_READY_FD"])
            os.write(descriptor, b'READY={"pid":%d}\n' % os.getpid())
        case "say":
            print(rest, flush=True)
        case "exit":
            os._exit(int(rest))
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "fork":
            pid = os.fork()
            if pid == 0:
                wait_for_ever()
            return f"forked {pid}"
        case "flood":
            block = b"x" * 79 + b"\n"
            for _ in range(int(rest)):
                os.write(1, block)
        case _:
            return tell(word)
    return f"done {word}"


def tell(word: str) -> str:
    """Answer a question about oneself."""
    match word:
        case "environment":
            return json.dumps(dict(os.environ))
        case "identity":
            return json.dumps(
                {"uid": os.getuid(), "groups": os.getgroups(), "cwd": str(Path.cwd())}
            )
        case "serve":
            with socket.socket(fileno=os.dup(int(os.environ["PUG_LISTEN_FD"]))) as door:
                visitor, _ = door.accept()
                visitor.sendall(b"served\n")
                visitor.close()
            return "done serve"
        case _:
            return f"unknown {word}"


def wait_for_ever() -> NoReturn:
    """Live until a signal ends it."""
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
