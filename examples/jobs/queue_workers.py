"""Workers on PostgreSQL with Procrastinate. Needs ``pip install -e '.[postgres,workers]'``.

Run it, the last command on two nodes or more::

    export PYADE_STORE=postgresql://localhost/pyade PYTHONPATH=examples/jobs
    procrastinate --app=queue_workers.app schema --apply
    procrastinate --app=queue_workers.app worker
"""

import os

import procrastinate

from pyade import Client, SessionCache
from pyade.apple import BASE_URL
from pyade.operations import register_tasks
from pyade.storage import PostgresStore

DSN = os.environ["PYADE_STORE"]
store = PostgresStore(DSN)
sessions = SessionCache(store)  # all nodes share the sessions with Apple


def client_for(token):
    return Client(token, sessions=sessions, base_url=os.environ.get("PYADE_BASE_URL", BASE_URL))


app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN))
register_tasks(app, store, client_for)
