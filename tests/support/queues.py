"""Whether a worker has done what its queue holds, asked of the server."""

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError


async def is_worked_off(jetstream: JetStreamContext, stream: str, durable: str) -> bool:
    """Whether a consumer has settled everything that its stream holds for it.

    What is pending alone does not tell: the server counts a message a moment after it has
    acknowledged it, so what was delivered is compared with the newest message.
    """
    told = await jetstream.consumer_info(stream, durable)
    if told.num_pending or told.num_ack_pending:
        return False
    try:
        newest = await jetstream.get_last_msg(stream, told.config.filter_subject or ">")
    except NotFoundError:
        return True
    return told.delivered is not None and told.delivered.stream_seq >= (newest.seq or 0)
