"""An enrollment endpoint in FastAPI whose users sign in. Needs ``pip install fastapi uvicorn``.

Run it: ``uvicorn --app-dir examples/jobs fastapi_sign_in:app``.
"""

from fastapi import FastAPI

from pyade import AcmeIssuer, Assigner, EnrollmentProfile, MdmService, Syncer, User, UserAffinity
from pyade.enrollment import AsyncEnrollmentService, EnrollmentApp
from pyade.testing import demo

world = demo()  # in a service: a PostgresStore, and no trust=
web = UserAffinity.modern("https://mdm.contoso.com/signin")
profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll", user_affinity=web)
Syncer(world.client, world.store).sync()
Assigner(world.client, world.store).run(default=profile)


class Provider:
    """Your identity provider; this one accepts every user as Ada."""

    def begin(self, state, machine):
        return f"https://mdm.contoso.com/signed-in?state={state}"


def end_sign_in(returned):
    return returned.fields["state"], User(upn="ada@contoso.com", full_name="Ada Lovelace")


mdm = MdmService(
    identifier="com.contoso.mdm",
    organization="Contoso",
    server_url="https://mdm.contoso.com/mdm",
    topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
)
acme = AcmeIssuer(directory_url="https://ca.contoso.com/acme/directory")
service = AsyncEnrollmentService(world.store, mdm=mdm, acme=acme, sign_in=Provider(), trust=world.trust)
enrollment = EnrollmentApp(service, end_sign_in=end_sign_in)
app = FastAPI(lifespan=enrollment.lifespan)  # add your own routes first
app.mount("/", enrollment)
