"""`flowengine systemd`: a hardened unit for a folder of flows, printed to be read and installed.

    flowengine systemd /etc/flowengine/flows > /etc/systemd/system/flowengine.service

The unit gets a user of its own for as long as it runs (DynamicUser), a data folder that only it can
enter, and no more of the machine than its flows name: systemd.exec(5), S-70.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from flowengine.errors import FindingsError, UsageError
from flowengine.flow import SLUG, Flow, find_flows, load_flow
from flowengine.flow.references import references

CREDENTIALS = "/etc/flowengine/credentials"
SERIAL = ("char-ttyS char-ttyUSB char-ttyACM char-ttyAMA", "dialout")
HARDWARE = {
    "gpio": ("char-gpiochip", "gpio"),
    "modbus.serial": SERIAL,
    "sensor.i2c": ("char-i2c", "i2c"),
    "serial": SERIAL,
}
"""A type or family of types -> the devices it works on (systemd.resource-control(5)), and the group
that owns them on Debian and its like."""

UNIT = """\
# Made by flowengine systemd. Put it into /etc/systemd/system/{name}.service, then:
#   systemctl daemon-reload && systemctl enable --now {name}
[Unit]
Description=flowengine: {what}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=30
# Faults in the flows (1) and in this command (2) need a person; all else is tried again.
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=1 2
TimeoutStopSec=10
{credentials}
# A user of its own, and a data folder that only it can enter.
DynamicUser=yes
StateDirectory={name}
StateDirectoryMode=0700
UMask=0077

# What it may see of the machine.
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
{devices}
ProtectProc=invisible
{proc}ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RemoveIPC=yes
KeyringMode=private

# What it may do.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged{limits}
SystemCallErrorNumber=EPERM

# How much of it.
MemoryMax={memory}
TasksMax=128
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine systemd`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="flows or folders")
    parser.add_argument("--name", default="flowengine", help="of the unit (default: flowengine)")
    parser.add_argument("--params", type=Path, metavar="FILE", help="passed on to run")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="passed on to run")
    parser.add_argument("--memory", default="512M", metavar="SIZE", help="most it may use")


def command(args: argparse.Namespace) -> int:
    """Run `flowengine systemd`."""
    flows: list[Flow] = []
    faults = []
    for file in find_flows(args.paths):
        flow, findings = load_flow(file)
        faults += [finding for finding in findings if finding.severity == "error"]
        if flow is not None:
            flows.append(flow)
    if faults:
        raise FindingsError(faults)
    if not SLUG.fullmatch(args.name):
        raise UsageError(f'"{args.name}" is no name for a unit.', "Use letters, digits, hyphens.")
    text = unit(flows, args)
    print(text, end="")
    for secret in _secrets(flows):
        print(f"  its secret {secret} is read from {CREDENTIALS}/{secret}", file=sys.stderr)
    return 0


def unit(flows: Sequence[Flow], args: argparse.Namespace) -> str:
    """The text of the unit for these flows."""
    types = {spec.type for flow in flows for spec in flow.nodes.values()}
    types |= {spec.type for flow in flows for spec in flow.connections.values()}
    paths = [path.resolve() for path in args.paths]
    homes = [Path("/", name) for name in ("home", "root")]  # what ProtectHome hides
    at_home = any(path.is_relative_to(home) for path in paths for home in homes)
    return UNIT.format(
        name=args.name,
        what=_escaped(", ".join(flow.title or flow.id for flow in flows)),
        command=_command(args, paths),
        credentials=_credentials(flows),
        home="read-only" if at_home else "yes",
        devices=_devices(types),
        # The sensor of this machine reads more of /proc than processes.
        proc="" if "sensor.system" in types else "ProcSubset=pid\n",
        # The workers of python nodes set limits for themselves.
        limits="" if "python" in types else " @resources",
        memory=args.memory,
    )


def _command(args: argparse.Namespace, paths: Sequence[Path]) -> str:
    found = Path(sys.argv[0]).name == "flowengine" and shutil.which(sys.argv[0])
    start = [str(Path(found).absolute())] if found else [sys.executable, "-m", "flowengine"]
    words = [*start, "run", *map(str, paths), "--data", f"%S/{args.name}", "--log", "json"]
    for option in ("params", "metrics"):
        value = getattr(args, option)
        if value is not None:
            words += [f"--{option}", str(value.resolve() if isinstance(value, Path) else value)]
    return " ".join(word if word.startswith("%S/") else _word(word) for word in words)


def _word(text: str) -> str:
    """A word of a command as systemd.service(5) reads it."""
    text = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    return text if text == shlex.quote(text) else '"' + text.replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return " ".join(text.replace("%", "%%").split())


def _secrets(flows: Sequence[Flow]) -> list[str]:
    return sorted({n for flow in flows for kind, n, _ in references(flow) if kind == "secret"})


def _credentials(flows: Sequence[Flow]) -> str:
    names = _secrets(flows)
    lines = [f"LoadCredential={name}:{CREDENTIALS}/{name}" for name in names]
    if not lines:
        return ""
    note = "# Secrets of the flows: files that root alone can read (or LoadCredentialEncrypted=)."
    return "\n".join(["", note, *lines, ""])


def _devices(types: set[str]) -> str:
    needed = {
        wants
        for name, wants in HARDWARE.items()
        if any(kind == name or kind.startswith(f"{name}.") for kind in types)
    }
    if not needed:
        return "PrivateDevices=yes"
    classes = sorted({device for devices, _ in needed for device in devices.split()})
    groups = sorted({group for _, group in needed})
    allowed = [f"DeviceAllow={device} rw" for device in classes]
    return "\n".join(["DevicePolicy=closed", *allowed, f"SupplementaryGroups={' '.join(groups)}"])
