"""`flowengine users`: the people of the editor and their API tokens.

They may be changed while the editor runs: a user who is removed is out at the next request.
"""

import argparse
import json
from typing import Any

from flowengine.commands.folder import add_data_argument, known_data_folder
from flowengine.commands.typed import read_value
from flowengine.errors import UsageError
from flowengine.message import rfc3339
from flowengine.moments import parse_duration

ROLES = ("viewer", "editor", "deployer", "admin")
_DAY = 86_400 * 1_000_000_000
_LOCAL = "command line"
_People = Any
"""The editor's People: only commands that serve it may import it, and late."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine users`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser(
        "add",
        help="add a user, or give one another role or password",
        epilog="example: flowengine users add anna --role deployer < password.txt",
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", choices=ROLES, default="viewer", help="what they may do")
    add.add_argument(
        "--powers",
        action="store_true",
        help="may also deploy nodes that reach files, programs or other hosts",
    )
    add.add_argument("--keep-password", action="store_true", help="another role, the same password")
    listing = actions.add_parser("list", help="users, and their tokens")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    remove = actions.add_parser("remove", help="remove a user, or revoke a token by its id")
    remove.add_argument("name", metavar="NAME|TOKEN-ID")
    token = actions.add_parser(
        "token",
        help="make an API token; it is shown this once",
        epilog="example: flowengine users token anna --role viewer --expires 30d",
    )
    token.add_argument("name", metavar="NAME")
    token.add_argument("--role", choices=ROLES, default="viewer", help="at most this")
    token.add_argument("--expires", default="90d", metavar="TIME", help="(default: 90d)")
    token.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    for action in (add, listing, remove, token):
        add_data_argument(action)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine users`."""
    from flowengine.web.people import People  # noqa: PLC0415  # argon2: only here

    people = People(known_data_folder(args.data))
    try:
        return _do(args, people)
    finally:
        people.close()


def _do(args: argparse.Namespace, people: _People) -> int:
    if args.action == "add":
        return _add(args, people)
    if args.action == "list":
        return _list(people, as_json=args.json)
    if args.action == "remove":
        if not people.remove(args.name) and not people.remove_token(args.name):
            raise UsageError(f'there is no user or token "{args.name}".', "flowengine users list")
        people.note(_LOCAL, f"removed {args.name}")
        print(f"removed {args.name}")
        return 0
    try:
        days = parse_duration(args.expires) / _DAY
    except ValueError as err:
        raise UsageError(f"--expires: {err}", 'Write it as "30d".') from err
    made = people.add_token(args.name, args.role, days, args.note)
    people.note(_LOCAL, f"token for {args.name}, {args.role}")
    print(made)
    return 0


def _add(args: argparse.Namespace, people: _People) -> int:
    password = None if args.keep_password else read_value(f"password of {args.name}")
    if args.keep_password and people.find(args.name) is None:
        raise UsageError(f'there is no user "{args.name}".', "Leave out --keep-password.")
    people.add(args.name, args.role, password, powers=args.powers)
    people.note(_LOCAL, f"user {args.name} is {args.role}{' with powers' if args.powers else ''}")
    print(f"{args.name} is {args.role}")
    return 0


def _list(people: _People, *, as_json: bool) -> int:
    tokens = people.tokens()
    for person in people.users():
        own = [token for token in tokens if token.user == person.name]
        if as_json:
            told = {
                "name": person.name,
                "role": person.role,
                "powers": person.powers,
                "has_password": bool(person.hash),
                "tokens": [
                    {"id": t.id, "role": t.role, "note": t.note, "ends": _moment(t.ends)}
                    for t in own
                ],
            }
            print(json.dumps(told, ensure_ascii=False))
            continue
        powers = ", powers" if person.powers else ""
        print(f"{person.name}  {person.role}{powers}{'' if person.hash else '  (no password)'}")
        for each in own:
            ended = " (expired)" if each.ends <= people.now() else ""
            note = f"  {each.note}" if each.note else ""
            print(f"  token {each.id}  {each.role}  until {_moment(each.ends)}{ended}{note}")
    return 0


def _moment(at: float) -> str:
    return rfc3339(int(at) * 1_000_000_000)
