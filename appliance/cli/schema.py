"""`schema`: what this release makes of the stores and what it needs of them.

Invariant: nothing is asked but the release itself. The life cycle asks another release with it, and
the build writes the same numbers into the manifest.
"""

import click

from appliance.cli.options import json_option, print_json
from appliance.lifecycle.engine_code import engine_code
from appliance.lifecycle.program import ReleaseFacts


@click.command()
@json_option
def schema(*, as_json: bool) -> None:
    """Show the newest migration of each store, and the oldest that can serve it."""
    from appliance.storage.schema import compatible_since, load_migrations  # noqa: PLC0415 the product half only here

    stores = {
        "postgres": load_migrations("appliance.storage.postgres", "migrations"),
        "nats": load_migrations("appliance.storage.streams", "definitions"),
        "clickhouse": load_migrations("appliance.storage.clickhouse", "migrations"),
    }
    facts = ReleaseFacts(
        schema={name: known[-1].version for name, known in stores.items()},
        schema_compatible={name: compatible_since(known) for name, known in stores.items()},
        engine_code=engine_code(),
    )
    if as_json:
        print_json(facts)
        return
    for name, newest in facts.schema.items():
        print(f"{name}: {newest:04d}, served from {facts.schema_compatible[name]:04d} on")
