"""The faults that flowengine must survive, as data: one row each, in the order users read them.

A test belongs to the row that its name says (`test_f20_...`, or `test_f01_f02_...` for two), and
stands where what it tests is. `python -m tests.faults` runs them and makes `web/help/faults.md`.

Of every row, unless it says otherwise: no acknowledged message is lost, duplicates are at most the
messages that were in flight, every message is accounted for, and nothing ends in a traceback.
"""

import re
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
DEF = re.compile(r"^\s*(?:async )?def (test_f\d\d_\w+)", re.MULTILINE)
NAME = re.compile(r"\btest((?:_f\d\d)+)_\w+")


class Row(NamedTuple):
    """One fault.

    Attributes:
        id: `F-01`.
        family: the heading it stands under.
        fault: what goes wrong.
        how: how a test brings it about.
        must: what has to happen.
        limit: the figure that it must keep to, empty if there is none but the general rule.
        absent: what it concerns that flowengine does not have yet; empty for a row that counts.
    """

    id: str
    family: str
    fault: str
    how: str
    must: str
    limit: str = ""
    absent: str = ""


def _family(name: str, *rows: tuple[str, ...]) -> list[Row]:
    return [Row(row[0], name, *row[1:]) for row in rows]


ROWS: list[Row] = [
    *_family(
        "The process",
        ("F-01", "The engine is killed under load, again and again",
         "kill -9 at random moments, 1,000 messages a second at QoS 1",
         "what was under way is done first after the restart",
         "ready in 3 s; duplicates at most what was in flight"),
        ("F-02", "It is killed while the journal begins a new file",
         "a power cut at every disk operation",
         "as F-01"),
        ("F-03", "It is killed while a changed flow is deployed",
         "kill -9 between the steps of a deploy",
         "the old flow or the new one runs, never a mixture", "no mixture"),
        ("F-04", "It is killed during an update or a certificate's renewal", "kill -9 at each step",
         "it resumes or goes back; the device can still log in", "every step",
         "updates over the air and renewal of certificates"),
        ("F-05", "It is asked to stop under load", "SIGTERM",
         "it stops reading, writes out, closes",
         "5 s; no duplicates"),
        ("F-06", "It stands still for longer than the keepalive", "SIGSTOP for 120 s, then SIGCONT",
         "it connects again and resumes its session", "10 s"),
        ("F-07", "Memory runs out", "a limit of 128 MB, a burst of large messages, a slow sink",
         "it reads no more until there is room; the system's killer never comes",
         "90 % of the limit"),
        ("F-08", "No file descriptor is left", "a limit of 64 files",
         "one clear error; links that stand go on", "no crash"),
        ("F-09", "A node holds the event loop", "a node that does not return",
         "the node is named in the log", "5 s"),
        ("F-10", "A node fails with every message, or leaves a failed task behind",
         "nodes with bugs",
         "the messages take the error route and the engine lives", "memory flat"),
        ("F-11", "Two engines use one data folder", "started twice",
         "the second refuses and names the first one's process"),
        ("F-12", "Broker and database are both away at the start", "the engine started alone",
         "the flow runs, stores on disk, connects later"),
    ),
    *_family(
        "Broker and network",
        ("F-20", "The broker is killed and comes back", "kill -9, with and without its persistence",
         "nothing that the broker had saved is lost; without persistence a gap is told", "5 s"),
        ("F-21", "The broker hangs", "SIGSTOP for 90 s",
         "noticed by the keepalive, connected again",
         "1.5 times the keepalive"),
        ("F-22", "The link is down for an hour", "the link taken down",
         "stored on disk and sent when it is back", "draining at twice the intake"),
        ("F-23", "The link comes and goes", "5 s up, 5 s down", "no storm of connections",
         "one connect for each time it is up"),
        ("F-24", "The peer is gone without a word", "a proxy that drops everything", "as F-21",
         "1.5 times the keepalive"),
        ("F-25", "A slow and lossy line", "delay of 300 to 800 ms, jitter, lost packets",
         "throughput is what window and delay allow"),
        ("F-26", "A very narrow line", "2 kbit/s", "no timeouts"),
        ("F-27", "The broker refuses", "wrong password, forbidden topic, refused subscription",
         "the error names topic and code; tried again, less and less often"),
        ("F-28", "Another client has our name", "a second client of the same id",
         "noticed, told, and no fight", "one connect in 10 s"),
        ("F-29", "The broker has forgotten our session", "its database deleted",
         "subscribed anew; that messages may be missing is told"),
        ("F-30", "The sink is away for longer than the keepalive, and the window is full",
         "the sink stopped for minutes", "pings go on, nothing is dropped"),
        ("F-31",
         "The broker sends a message again, marked or not, under the same number or another",
         "a broker of our own", "the message is known again: one row in the database"),
        ("F-32", "A flood of retained messages at the subscription", "100,000 retained topics",
         "bounded memory"),
        ("F-33", "The name of a server cannot be found, then leads elsewhere",
         "a resolver of our own",
         "tried again, and the new address followed", "30 s"),
        ("F-34", "CoAP packets are doubled, reordered, lost or reset", "a UDP proxy",
         "as RFC 7252 and RFC 7959 say; nothing is done twice"),
        ("F-35", "A flood of CoAP packets from one source", "50,000 packets a second",
         "that source is held back; other flows hardly notice", "others at most twice as slow"),
    ),
    *_family(
        "Sinks",
        ("F-40", "PostgreSQL is killed in the middle of a batch", "kill -9",
         "the batch is written again, and its rows are there once", "no duplicates",
         "a sink for PostgreSQL"),
        ("F-41", "PostgreSQL hangs", "SIGSTOP", "a time limit; no pile of statements", "bounded",
         "a sink for PostgreSQL"),
        ("F-42", "One row of 1,000 is refused by PostgreSQL", "a bad value, a missing table",
         "that row is quarantined, 999 are written", "", "a sink for PostgreSQL"),
        ("F-43", "The database asks us to wait", "429 and 503, Retry-After, slow answers",
         "it is not asked before that time"),
        ("F-44", "The database refuses a part of a batch", "a field of another type",
         "the bad points are found by halves; all others are written", "2 log2 n tries"),
        ("F-45", "The database loses what it has acknowledged", "killed before its own fsync",
         "outside the promise, and said so"),
        ("F-46", "One of several branches is away for long", "its sink stopped",
         "the others go on; only that branch's store grows"),
        ("F-47", "The token is no longer valid", "changed while the flow runs",
         "told; a new one is taken without a restart"),
        ("F-48", "The database has another time zone, or its clock is wrong", "set so",
         "UTC everywhere"),
    ),
    *_family(
        "Disk and journal",
        ("F-50", "The disk is full", "a file system of a few MB",
         "no more is acknowledged, it is told, and it goes on when there is room"),
        ("F-51", "Writing or fsync fails", "errors from the operations themselves",
         "what failed is not trusted: written anew elsewhere and read back"),
        ("F-52", "The disk becomes read-only", "mounted so", "as F-50"),
        ("F-53", "The journal was cut off", "at every byte of its last two files",
         "it starts; all before the cut is there", "every byte"),
        ("F-54", "Bits of the journal have flipped", "at every 97th byte",
         "found by checksum; that record alone is skipped and counted"),
        ("F-55", "Files of the journal are gone, renamed, empty or foreign", "changed by hand",
         "it starts, and says exactly what is missing"),
        ("F-56", "The cursor is older or newer than the data", "an old copy put back",
         "the data counts; nothing is lost, little is sent again"),
        ("F-57", "The disk is slow", "fsync of 500 ms", "many share one fsync; reading waits"),
        ("F-58", "The data folder belongs to somebody else", "rights taken away",
         "one clear line, and an exit code"),
        ("F-59", "What waits on disk is older than its age limit", "a told clock",
         "dropped as the setting says, and counted"),
    ),
    *_family(
        "Time",
        ("F-60", "The clock jumps", "by an hour, to 1970, 2038 and 2106",
         "windows, holds and pauses do not notice", "no stall over 1 s"),
        ("F-61", "The box starts in 1970 and learns the time later", "a told clock",
         "stored times are put right, or nothing depends on them"),
        ("F-62", "The box sleeps for hours", "a told clock, SIGSTOP",
         "one catch-up, not one for each tick"),
        ("F-63", "Readings come a day late or a day early", "made so",
         "as each window's lateness says; the future is bounded"),
        ("F-64", "Daylight saving, a leap second, the year's end", "a told clock",
         "a scheduled time fires once"),
    ),
    *_family(
        "Input",
        ("F-70", "Malformed JSON, CBOR, SenML, CSV, line protocol", "10,000 mutants each",
         "the error route, in bounded time", "50 ms each"),
        ("F-71", "A payload of 100 MB, or one that claims 256 MB", "a client",
         "refused at the limit, before it is held", "twice the limit"),
        ("F-72", "Nesting 100,000 deep, a million keys, keys twice", "made so",
         "refused by depth and size"),
        ("F-73", "A compressed bomb", "10 kB that unpack to 10 GB", "stopped at the limits",
         "100 ms"),
        ("F-74", "NaN, infinity, 1e400, -0.0, 2^53+1, 10,000 digits", "JSON",
         "exact or refused, never written as something else"),
        ("F-75", "Bytes that are no text, control characters, impossible topics",
         "raw MQTT packets",
         "that client is put out; everyone else goes on"),
        ("F-76", "LoRaWAN frames: wrong code, replayed, rolled over", "vectors",
         "refused or marked",
         "", "LoRaWAN"),
        ("F-77", "A device's codec loops or takes all memory", "test codecs",
         "ended at its limit; the message is quarantined", "1 s", "codecs written by users"),
        ("F-78", "Device names that are paths, or 10 kB long, or used twice", "made so",
         "no file and no metric is named by a raw device name"),
        ("F-79", "A message that kills the process that works on it", "a test node",
         "quarantined after the third time", "", "nodes in processes of their own"),
    ),
    *_family(
        "Flows and deploys",
        ("F-80", "A flow of 10,000 nodes; a thousand flows; very wide, very deep", "made so",
         "it loads and deploys", "5 s"),
        ("F-81", "A loop without a queue in it", "a flow", "refused, with the way named"),
        ("F-82", "A loop that doubles its messages", "a flow", "bounded, and told", "memory flat"),
        ("F-83", "Names used twice, wires to nothing, unknown types, newer formats, stray commas",
         "flow files", "the line and how to mend it; the other flows run"),
        ("F-84", "Two editors deploy at once", "two clients", "the second is told and can merge",
         "",
         "the editor"),
        ("F-85", "A hundred deploys under load", "reloads", "nothing is lost, nothing leaks",
         "memory grows by less than 5 %"),
        ("F-86", "A node's package is missing, fails or is too old", "taken away",
         "told at the nodes that use it; the other flows run"),
    ),
    *_family(
        "Certificates, updates, fleets",
        ("F-90",
         "A certificate is expired, not valid yet, for another host or purpose, unsigned, weak",
         "an authority of our own", "refused with the reason, never accepted after all",
         "every case"),
        ("F-91", "The authority's certificate is changed", "with and without overlap",
         "seamless with overlap; else told before it expires", "",
         "warnings before a certificate expires"),
        ("F-92", "The key file is readable by all, missing, or another's",
         "rights and files changed",
         "refused or told"),
        ("F-93", "An update is damaged, cut off, wrongly signed, too old or another's",
         "files changed",
         "refused or resumed, never started", "", "updates over the air"),
        ("F-94", "A new version is unhealthy or hangs", "a test build", "the old one comes back",
         "",
         "updates over the air"),
        ("F-95", "A thousand devices connect again at once", "simulated devices",
         "spread out in time", "60 s", "a fleet of devices of our own"),
        ("F-96", "A thousand certificates expire in one hour", "a told clock",
         "renewals spread out", "", "renewal of certificates"),
    ),
    *_family(
        "All of it, for long",
        ("F-99", "A random fault each minute, for hours",
         "engine, broker and database stopped and killed",
         "nothing is lost, memory does not grow", "1 MB an hour"),
    ),
]  # fmt: skip

BY_ID = {row.id: row for row in ROWS}

UNTESTED = frozenset({"F-90", "F-92"})
"""Rows that count and that no test has yet; the page says so. It may only shrink."""


def rows_of(test: str) -> list[str]:
    """The rows of a test by its name or node id: `test_f01_f02_x` is of F-01 and F-02."""
    found = NAME.search(test.rpartition("::")[2])
    return [f"F-{number}" for number in re.findall(r"_f(\d\d)", found[1])] if found else []


def by_row() -> dict[str, list[str]]:
    """The names of all tests of each row, read from the source without importing it."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for test in DEF.findall(file.read_text()):
            for row in rows_of(test):
                found.setdefault(row, []).append(test)
    return found
