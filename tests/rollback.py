"""What a failover to a late replica does to a log."""

from shared.keys import fence_key, log_key
from shared.redis import Client


async def roll_back(redis: Client, execution_id: str, to: int) -> None:
    """Make a log what it was when it had so many entries, in one step."""
    key = log_key(execution_id)
    rows = await redis.execute_command("XRANGE", key, "-", "+")
    async with redis.pipeline(transaction=True) as pipe:
        pipe.delete(key, fence_key(execution_id))
        for row in rows[:to]:
            pipe.execute_command("XADD", key, row[0], *row[1])
        await pipe.execute()
