"""Every world that one EVSE machine can bring about, found by playing everything that can happen in each."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.core.evse_events import DeviceBack, Plugged, RecordFailed, Refused, Restarted, Tapped, TimerFired, Unplugged
from agent.core.evse_state import Available, Device, Settings
from tests.unit.evse_world import Happening, Machine, Moment, PowerCut, World, abstracted, check, happenings, play


@dataclass
class Graph:
    """The worlds found, and how a driver gets from one to the next."""

    settings: Settings
    came_by: dict[World, tuple[World, Happening] | None] = field(default_factory=dict)
    transitions: int = 0
    by_driver: dict[World, list[World]] = field(default_factory=dict)
    """Backwards: whence a driver, or what comes by itself, leads here."""
    by_repair: dict[World, list[World]] = field(default_factory=dict)
    """Backwards: whence a device or the power that comes back leads here."""

    def story(self, world: World) -> str:
        """The shortest way to a world."""
        steps: list[str] = []
        came = self.came_by[world]
        while came is not None:
            world, happening = came
            steps.append(repr(happening))
            came = self.came_by[world]
        return "\n".join(reversed(steps))


def explore(settings: Settings, machine: Machine) -> Graph:
    """All worlds up to what makes no difference. What is raised carries the shortest story that leads to it."""
    start = World()
    graph = Graph(settings, {start: None})
    ahead = deque([start])
    while ahead:
        world = ahead.popleft()
        for happening in happenings(world, settings):
            graph.transitions += 1
            try:
                reached, _, cuts = play(world, happening, settings, machine)
            except Exception as error:
                error.add_note(f"after\n{graph.story(world)}\n{happening!r}")
                raise
            to = abstracted(reached, settings)
            for each in (to, *(abstracted(cut, settings) for cut in cuts)):
                if each not in graph.came_by:
                    graph.came_by[each] = (world, happening)
                    ahead.append(each)
            if _comes_by_itself(world, happening):
                graph.by_driver.setdefault(to, []).append(world)
            if _is_repair(world, happening):
                graph.by_repair.setdefault(to, []).append(world)
    return graph


def _comes_by_itself(world: World, happening: Happening) -> bool:
    """What the driver who is there can do, and what needs nobody; the worst decision is the one that comes."""
    evse = world.evse
    if evse is None:
        return False
    match happening:
        case Tapped(tap=tap):
            running = evse.running
            return Device.READER not in evse.lost and (running is None or running.uid == tap.uid)
        case Plugged():
            return not world.cable_in and Device.PLUG not in evse.lost
        case Unplugged():
            return world.cable_in and not world.cable_locked and Device.PLUG not in evse.lost
        case Refused() | RecordFailed() | TimerFired() | Moment():
            return True
        case _:
            return False


def _is_repair(world: World, happening: Happening) -> bool:
    if isinstance(happening, PowerCut):
        return world.evse is not None and world.evse.stopping
    return isinstance(happening, Restarted | DeviceBack)


def check_ways_out(graph: Graph) -> None:
    """From everywhere a driver gets his cable back without any repair, and to a free charge point with repairs."""
    loose = _reaching((world for world in graph.came_by if not world.cable_locked), [graph.by_driver])
    free = _reaching((world for world in graph.came_by if _is_free(world)), [graph.by_driver, graph.by_repair])
    for world in graph.came_by:
        check(world in loose or world.evse is None, f"a cable stays locked in after\n{graph.story(world)}")
        check(world in free, f"no way back to a free charge point after\n{graph.story(world)}")


def _is_free(world: World) -> bool:
    evse = world.evse
    if evse is None or world.cable_in or world.cable_locked or world.open or world.timers:
        return False
    return isinstance(evse.phase, Available)


def _reaching(goals: Iterable[World], ways: list[dict[World, list[World]]]) -> set[World]:
    found = set(goals)
    ahead = list(found)
    while ahead:
        world = ahead.pop()
        for way in ways:
            for before in way.get(world, ()):
                if before not in found:
                    found.add(before)
                    ahead.append(before)
    return found
