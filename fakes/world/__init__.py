"""The demo's world side: two EVSEs with cars, cards and an eMSP, and whoever plays with them.

    async with world_in(folder) as world:
        await world.tap("DE*EXA*E1", WALLET[0].uid)
        world.plug("DE*EXA*E1", plugged=True)
        await world.turn("down")
        await world.pull_the_power()
        await world.switch_on()

The agent is the real one, on a serial line, GPIO pins and HTTP; it can't tell that this is a demo. `WorldApi` is the
same for a browser, and `Front` what stands at the panel's address while the agent comes and goes.
"""

from fakes.world.api import WorldApi
from fakes.world.bench import Bay
from fakes.world.errors import NoPowerError, UnknownThingError
from fakes.world.front import Front
from fakes.world.lives import Life, LifeOf, life_with_panel, life_without_panel
from fakes.world.play import World, world_in
from fakes.world.wallet import WALLET, WalletCard
from fakes.world.weathers import WEATHERS

__all__ = [
    "WALLET",
    "WEATHERS",
    "Bay",
    "Front",
    "Life",
    "LifeOf",
    "NoPowerError",
    "UnknownThingError",
    "WalletCard",
    "World",
    "WorldApi",
    "life_with_panel",
    "life_without_panel",
    "world_in",
]
