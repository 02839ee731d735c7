"""Keys brought along from another system: imported by their digests, used, revoked together, refused."""

import hashlib

import httpx

from tests.servers import manage
from tests.waiting import wait_for

KEYS = [f"sk_live_{number:024d}" for number in range(3)]
GARBAGE = (
    "sk_test_" + "0" * 24,
    "sk_live_" + "0" * 23,
    "sk_live_" + "-" * 24,
    "rlk_live_" + "0" * 49,
    "x" * 32,
)


def test_keys_of_another_system_go_on_working_until_they_are_revoked(platform, site, tmp_path):
    file = tmp_path / "keys.csv"
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in KEYS]
    file.write_text("digest,name,tier\n" + "".join(f"{digest},shop,pro\n" for digest in digests))

    def ask(key):
        # A connection of its own each time, so that either worker may answer.
        headers = {"X-API-Key": key}
        return httpx.post(f"{platform['API_URL']}/api/request", headers=headers, trust_env=False, timeout=30)

    def looked_up():
        text = httpx.get(f"{platform['API_URL']}/metrics", trust_env=False, timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("key_directory_lookups_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = looked_up()
    assert {ask(key).status_code for key in (*KEYS, *GARBAGE) * 2} == {401}
    assert looked_up() == before, "what has no known format costs no query"

    options = ("--prefix", "sk_live_", "--length", "32")
    manage(platform["DATABASE_URL"], "import_keys", str(file), *options)
    wait_for(lambda: [ask(key).status_code for key in KEYS * 4] == [200] * 12, 10)
    assert ask(KEYS[0]).json()["tier"] == "pro"

    before = looked_up()
    assert {ask(key).status_code for key in GARBAGE * 4} == {401}
    assert looked_up() == before, "nor does it afterwards"

    answer = site.post(
        "/admin/api_manager/apikey/?q=shop",
        action="revoke",
        select_across="1",
        _selected_action="0",
        reason="the old system is gone",
        count="3",
    )
    assert answer.status_code == 302, answer.text
    wait_for(lambda: [ask(key).status_code for key in KEYS * 4] == [403] * 12, 10)
