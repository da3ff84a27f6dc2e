"""Values of the API that alone give access show stars."""

from __future__ import annotations

from pyade.business.activities import Download
from pyade.business.resources import Activity, read_resource
from pyade.core.secret import Secret

ADDRESS = "https://logs.apple.example/activity.csv?signature=hunter2"


def test_the_address_of_a_log_is_a_secret() -> None:
    activity = read_resource({"id": "A1", "attributes": {"downloadUrl": ADDRESS}}, Activity)
    assert activity.download_url == Secret(ADDRESS)
    assert "hunter2" not in f"{activity}{Download(Secret(ADDRESS))}"


def test_an_address_that_is_no_text_is_kept_as_what_it_is() -> None:
    activity = read_resource({"id": "A1", "attributes": {"downloadUrl": 5}}, Activity)
    assert activity.download_url is None
    assert activity.extra == {"downloadUrl": 5}
