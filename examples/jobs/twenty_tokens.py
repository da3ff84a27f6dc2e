"""Twenty server tokens at once with asyncio. Run it: ``python examples/jobs/twenty_tokens.py``."""

import asyncio

from pyade import AsyncSyncer, PyadeError
from pyade.testing import demo

world = demo()  # in a service: AsyncClient(token), and a PostgresStore
for number in range(1, 20):
    server = world.fake.add_server(f"Site {number}")
    world.fake.add_devices(50, server=server)
    world.store.add_token(world.fake.token(server, name=f"site-{number}"))


async def sync(token):
    """Sync one token; an error of one does not stop the others."""
    async with world.async_client_for(token) as apple:
        try:
            print(await AsyncSyncer(apple, world.store).sync())
        except PyadeError as error:
            print(f"{token.name}: {error}")


async def main():
    await asyncio.gather(*map(sync, world.store.tokens()))


asyncio.run(main())
