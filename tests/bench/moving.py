"""How fast a file goes in and comes out again, and how much memory that takes.

    python -m tests.bench.moving [EVENTS [FORMAT ...]]

Starts an appliance of its own, imports EVENTS (1,000,000) events of 30 days from JSON lines,
exports them in each format, and imports CSV and Parquet into fresh projects. Memory is the peak
resident memory of the command, of the one that reads the table, of the engine and of the worker.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.support.stack import FROM_SOURCE, Stack, pug, running_stack

EVENTS = 1_000_000
DAY_MS = 86_400_000
FIRST_MS = 1_772_323_200_000
POLL_SECONDS = 0.05


def write_events(path: Path, events: int) -> None:
    """Sessions of five events of 50,000 people."""
    with path.open("w") as file:
        for number in range(events):
            at = FIRST_MS + number * 30 * DAY_MS // events
            session = number // 5
            auto = (
                f'{{"$url":"https://shop.example/page/{number % 200}?utm_source=google",'
                f'"$country":"AT","$browser":"Firefox","$os":"Linux","$screenWidth":1920}}'
            )
            custom = f'{{"plan":"pro","amount":{number % 97}.5,"items":{number % 7},"ok":true}}'
            file.write(
                f'{{"event_id":"{number:08x}-0000-4000-8000-{number:012x}","kind":"view",'
                f'"occur_time":{at},"distinct_id":"user-{session * 7919 % 50_000}",'
                f'"session_id":"{session:08x}-0000-4000-9000-000000000000",'
                f'"auto_properties":{auto},"custom_properties":{custom}}}\n'
            )


class Peaks:
    """Watches how much memory processes take while a command runs."""

    def __init__(self, stack: Stack) -> None:
        self._watched = {name: psutil.Process(stack.pid(name)) for name in ("clickhouse", "events")}
        self.peaks: dict[str, int] = {}

    def run(self, *words: str, data_dir: Path) -> tuple[psutil.Popen, str]:
        """Run one of our commands; the process and what it printed."""
        command = [*FROM_SOURCE, *words, "--data-dir", str(data_dir)]
        process = psutil.Popen(command, stdout=-1, stderr=-1, text=True)
        told: list[tuple[str, str]] = []
        reader = threading.Thread(target=lambda: told.append(process.communicate()))
        reader.start()
        self.peaks = {}
        while reader.is_alive():
            self._look(process)
            time.sleep(POLL_SECONDS)
        reader.join()
        assert process.returncode == 0, told[0][1]
        return process, told[0][0]

    def _look(self, process: psutil.Popen) -> None:
        found = {**self._watched, "command": process}
        try:
            for child in process.children(recursive=True):
                found["table"] = child
            for name, one in found.items():
                self.peaks[name] = max(self.peaks.get(name, 0), one.memory_info().rss)
        except psutil.NoSuchProcess:
            return

    def __str__(self) -> str:
        return ", ".join(f"{name} {size >> 20} MiB" for name, size in sorted(self.peaks.items()))


def main(events: int, forms: list[str]) -> None:
    """Print one line for each way."""
    with tempfile.TemporaryDirectory(prefix="pug-moving-") as folder:
        place = Path(folder)
        source = place / "events.jsonl"
        write_events(source, events)
        with running_stack(place / "pug") as stack:
            peaks = Peaks(stack)
            origin = new_project(stack, "origin")
            bring_in(stack, peaks, origin, source, events)
            for form in forms:
                take_out(stack, peaks, origin, place / f"out.{form}", events)
            for form in forms[1:]:
                bring_in(stack, peaks, new_project(stack, form), place / f"out.{form}", events)


def new_project(stack: Stack, name: str) -> str:
    told = pug("project", "create", name, "--json", data_dir=stack.data_dir)
    return str(json.loads(told.stdout)["id"])


def bring_in(stack: Stack, peaks: Peaks, project: str, file: Path, events: int) -> None:
    words = ("import", "events", str(file), "--project", project, "--json")
    _, told = peaks.run(*words, data_dir=stack.data_dir)
    report = json.loads(told.splitlines()[-1])
    assert (report["events"], report["stored"]) == (events, True), report
    rate = events / report["seconds"]
    print(
        f"import {file.suffix[1:]:8} {report['seconds']:7.1f} s, {rate:8,.0f} events/s"
        f" sent and stored; {peaks}",
        flush=True,
    )


def take_out(stack: Stack, peaks: Peaks, project: str, file: Path, events: int) -> None:
    words = ("export", "events", project, "--to", str(file), "--json")
    _, told = peaks.run(*words, data_dir=stack.data_dir)
    report = json.loads(told.splitlines()[-1])
    assert report["events"] == events, report
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            assert sum(1 for _ in lines) == events
    print(
        f"export {file.suffix[1:]:8} {report['seconds']:7.1f} s,"
        f" {events / report['seconds']:8,.0f} events/s, {report['bytes'] / 1e6:,.0f} MB; {peaks}",
        flush=True,
    )


if __name__ == "__main__":
    main(int((sys.argv[1:] or [EVENTS])[0]), sys.argv[2:] or ["jsonl", "csv", "parquet"])
