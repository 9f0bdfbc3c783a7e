"""What a simulated story is held against, once all is well: far sides, states, order, the ledger.

judge         far sides and states have each number as often as the flow's model says; nothing
              that was done comes again, but for what was under way when an engine ended
judge_books   the ledger on disk: all that came, each with one fate, the one that was seen
"""

import contextlib
import sqlite3
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from flowengine.engine.fates import DROPPED, FATES, FILTERED, KIND, QUARANTINED, SPOOLED
from tests.engine.simulation_flows import HOLDING, LOSSY
from tests.engine.simulation_loop import Broken

if TYPE_CHECKING:
    from tests.engine.simulation_world import World

Came = dict[int, dict[str, list[int]]]
"""By number and place: when it came."""


def judge(world: "World") -> None:
    """Raise Broken for what is lost, doubled, out of order or stuck."""
    for name, topic in world.topics.items():
        if name in world.flow.nodes and (topic.waiting or topic.unacknowledged):
            raise Broken(f"{name} stands still: {list(topic.unacknowledged)[:9]} are open")
    for name, session in world.sessions.items():
        used = {world.flow.nodes[source]["config"]["broker"] for source in world.flow.known()}
        if name in used and not session.is_idle:
            raise Broken(f"{name} stands still: {session.owes[:9]} are open")
    _judge_receipts(world)
    came: Came = defaultdict(lambda: defaultdict(list))
    for place, got in {**world.got, "quarantine": world.quarantined()}.items():
        for number, at in got:
            came[number][place].append(at)
    tallies = _tallies(world)
    for number, (_, version) in world.let_in_at.items():
        if number in world.acknowledged:
            must, may = _expected(world, number, version)
            _judge_number(world, number, came[number], (must, may))
            _judge_tallies(world, number, must, may, tallies)
    _judge_ignored(world)
    _judge_stamps(world)
    _judge_order(world)


def _judge_number(
    world: "World",
    number: int,
    came: dict[str, list[int]],
    owed: tuple[Counter[str], Counter[str]],
) -> None:
    must, may = owed
    states = world.flow.names("sim.tally")
    for place, needed in must.items():
        times = len(came.get(place, ()))
        if times < needed and place not in states:
            raise Broken(f"{number} is lost: it came {times} of {needed} times to {place}")
    for place, when in came.items():
        if place not in may:
            raise Broken(f"{number} came to {place}, where it does not belong")
        if len(when) > may[place] and not _is_excused(world, number, sorted(when)[may[place] - 1]):
            raise Broken(f"{number} came {len(when)} times to {place}")


def _tallies(world: "World") -> dict[str, Counter[int]]:
    """What the states of `sim.tally` nodes know in the end."""
    found: dict[str, Counter[int]] = {}
    for name in world.flow.names("sim.tally"):
        step = world.engine.flows["sim"].nodes[name].step
        assert step is not None
        assert step.entries is not None
        states: list[Any] = [step.entries.get(key) for key in step.entries.keys()]  # noqa: SIM118
        found[name] = Counter(number for state in states for number in state.ids)
    return found


def _judge_tallies(
    world: "World",
    number: int,
    must: Counter[str],
    may: Counter[str],
    tallies: dict[str, Counter[int]],
) -> None:
    """States have what was acknowledged: once, if its source can tell what comes again."""
    exact = {name for name in tallies if all(f.is_exact(name) for f in world.flows)}
    for name, tally in tallies.items():
        times = tally[number]
        if times < must[name]:
            raise Broken(f"the state of {name} has forgotten {number}: {times} of {must[name]}")
        is_known = world.owner[number] in world.base.known() and number not in world.forgotten
        let_in, _ = world.let_in_at[number]
        excused = not (is_known and name in exact) and any(let_in <= at for at, _, _ in world.ends)
        if times > may[name] and not excused:
            raise Broken(f"the state of {name} has {number} {times} times")


def _expected(world: "World", number: int, version: int) -> tuple[Counter[str], Counter[str]]:
    """Where a number must have come, whichever version of the flow had it, and where it may."""
    source = world.owner[number]
    must: Counter[str] | None = None
    may: Counter[str] = Counter()
    for flow in world.flows[version:]:
        if source not in flow.nodes:
            must = Counter()
            continue
        owed, possible = flow.owed(source, number)
        must = owed if must is None else must & owed
        may |= possible
        if flow.nodes.keys() != world.base.nodes.keys():
            may["quarantine"] = max(may["quarantine"], 1)  # on its way from a node that is gone
    return must or Counter(), may


def _is_excused(world: "World", number: int, done: int) -> bool:
    """Whether the end of an engine may have repeated what was done at this time."""
    let_in, _ = world.let_in_at[number]
    return any(
        number in open_ones or (let_in <= at and done >= since)
        for at, open_ones, since in world.ends
    )


def _judge_ignored(world: "World") -> None:
    """What a broker handed over was let in before it was acknowledged."""
    for number, version in world.handed_over.items():
        is_wanted = all(world.owner[number] in flow.nodes for flow in world.flows[version:])
        if number in world.acknowledged and is_wanted and number not in world.let_in_at:
            raise Broken(f"{number} was acknowledged and never let in")


def _judge_stamps(world: "World") -> None:
    """What comes again to a database is the same point: it has its first arrival time (R56)."""
    for (place, number), stamps in world.stamps.items():
        is_known = world.owner[number] in world.base.known() and number not in world.forgotten
        if len(stamps) > 1 and is_known:
            raise Broken(f"{number} came to {place} with {len(stamps)} times")


# -- receipts and the ledger


def _judge_receipts(world: "World") -> None:
    flow = world.engine.flows["sim"]
    for name, intake in flow.intakes.items():
        waits = intake.in_flight - _waits_in_vain(world, name)
        is_open = waits and not _stays(world) and _balances(world, name)
        if is_open or intake.unacknowledged:
            raise Broken(
                f"{name}: {intake.in_flight} in flight, {intake.unacknowledged} unacknowledged"
            )
    held = {n: r.step.held for n, r in flow.nodes.items() if r.step and r.step.held}
    if held:
        raise Broken(f"receipts are held for ever: {held}")
    for number, receipt in world.receipts.items():
        if receipt.parts and any(f.nodes.keys() < world.base.nodes.keys() for f in world.flows):
            continue  # the node that held it went, and if it came back, its state was read again
        if receipt.parts or receipt.insecure:
            raise Broken(f"{number} is open: {receipt.parts} parts, {receipt.insecure}")
        _judge_fate(world, number, receipt.fate)


def _balances(world: "World", name: str) -> bool:
    """Whether the ledger of a source must balance to the message.

    What a power cut, or the loss of a session, takes of it, and what a source without an identity
    may bring again after a crash, can shift a fate or a few.
    """
    is_known = name in world.base.known() or not world.ends
    return is_known and not world.has_lost & {"power", "session"}


def _stays(world: "World") -> bool:
    """Whether something may be in the state or spool of a node that is gone."""
    return world.flow.nodes.keys() < {name for flow in world.flows for name in flow.nodes}


def _waits_in_vain(world: "World", name: str) -> int:
    """For how many messages a source waits that were acknowledged: a power cut took that."""
    account = world.engine.flows["sim"].ledger.sources.get(name)
    return len(account.former) if account is not None and "power" in world.has_lost else 0


def _judge_fate(world: "World", number: int, fate: int) -> None:
    """Where nothing ended and nothing was changed, the fate says what became of a message."""
    if world.ends or len(world.flows) > 1:
        return
    came = any(n == number for got in world.got.values() for n, _ in got)
    is_aside = any(n == number for n, _ in world.quarantined())
    kind = fate & KIND
    if is_aside and kind not in {QUARANTINED, SPOOLED}:
        raise Broken(f"{number} is in quarantine and counts as {FATES[kind]}")
    if not came and not is_aside and kind not in {FILTERED, DROPPED, SPOOLED}:
        raise Broken(f"{number} came nowhere and counts as {FATES[kind]}")


def judge_books(world: "World") -> None:
    """Raise Broken for a ledger that does not balance, or tells what was not seen."""
    with contextlib.closing(sqlite3.connect(world.data / "state.db")) as db:
        rows = db.execute("select name, minute, item, n from ledger where kind = 'source'")
        books: dict[str, Counter[str]] = defaultdict(Counter)
        for name, minute, item, n in rows.fetchall():
            if n < 0:
                raise Broken(f"{name}: {n} {item} in minute {minute}")
            books[name][item.partition(":")[0]] += n
    for name, book in books.items():
        _judge_book(world, name, book)


def _judge_book(world: "World", name: str, book: Counter[str]) -> None:
    is_known = name in world.base.known()
    came, was_cut = len(world.counted[name]), "power" in world.has_lost
    if is_known and not was_cut and book["received"] != came:
        raise Broken(f"{name}: {came} came, and {book['received']} are counted")
    if not is_known and not came <= book["received"] + (world.runs > 0) * world.times_in:
        raise Broken(f"{name}: {came} came, and only {book['received']} are counted")
    if not _balances(world, name):
        return
    told = dict(book)
    if book["missing"] and not (is_known and was_cut):
        raise Broken(f"{name}: the ledger says {told}")
    fates = sum(book[fate] for fate in FATES)
    all_spools = {spool for flow in world.flows for spool in flow.spools()}
    fates += _waits_in_vain(world, name)
    if fates != book["received"] and not (_stays(world) and fates < book["received"]):
        raise Broken(f"{name}: of {book['received']} that came {fates} have a fate: {told}")
    if book["spooled"] and world.flow.spools() >= all_spools:
        raise Broken(f"{name}: the ledger has spooled ones where none wait: {told}")
    # At the end of an engine the fates are lost that other branches met of what a state had. What
    # is filtered behind a wire's spool before it is safe there counts as delivered.
    has_state = bool(world.base.names(*HOLDING, *LOSSY, "sim.tally"))
    is_whole = not (world.ends and has_state) and not any(f.spilling() for f in world.flows)
    if is_known and is_whole and not world.has_lost & {"power", "session"} and _is_sure(world):
        _judge_fates(world, name, book)


def _judge_fates(world: "World", name: str, book: Counter[str]) -> None:
    """Each fate as often as it was seen: nothing is lost on the way in this flow."""
    aside = {number for number, _ in world.quarantined()}
    written = {number for got in world.got.values() for number, _ in got} - aside
    counted = world.counted[name]
    seen = {
        "quarantined": len(counted & aside),
        "delivered": len(counted & written),
        "filtered": len(counted - aside - written),
    }
    told = {fate: book[fate] for fate in FATES if book[fate]}
    if told != {fate: n for fate, n in seen.items() if n}:
        raise Broken(f"{name}: seen are {seen}, and the ledger says {told}")


def _is_sure(world: "World") -> bool:
    """Whether no version of the flow may drop anything."""
    return all(
        flow.is_sure() and flow.nodes.keys() == world.base.nodes.keys() for flow in world.flows
    )


# -- order


def _judge_order(world: "World") -> None:
    in_order = set.intersection(*(flow.ordered() for flow in world.flows))
    # What was under way when an engine ended comes again, maybe behind what was on disk.
    again = set[int]().union(*(open_ones for _, open_ones, _ in world.ends))
    for place in sorted(in_order & set(world.got)):
        newest: dict[tuple[str, int], int] = {}
        seen: set[int] = set()
        for number, _ in world.got[place]:
            if number in again:
                continue
            line = (world.owner[number], number % 3)
            before = newest.get(line, 0)
            if number < before and number not in seen and not _fell_back(world, number, before):
                raise Broken(f"{number} came to {place} behind {before}")
            seen.add(number)
            newest[line] = max(before, number)


def _fell_back(world: "World", number: int, before: int) -> bool:
    """Whether a state that had dropped a number may have fallen back to when it held it."""
    (first, _), (second, _) = world.let_in_at[number], world.let_in_at[before]
    return any(flow.names(*LOSSY) for flow in world.flows) and any(
        first <= end and since <= second <= end for end, _, since in world.ends
    )
