import hashlib
import re
from html import unescape

from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from api_manager.importing.forms import MAX_UPLOAD_BYTES
from api_manager.models import APIKey, AuditEvent, ForeignFormat

PAGE = "/admin/api_manager/apikey/import/"
FORMAT = {"prefix": "sk_live_", "min_length": "32", "max_length": "32", "alphabet": "base62"}
DIGESTS = [hashlib.sha256(f"sk_live_{n:024d}".encode()).hexdigest() for n in range(3)]
FILE = "digest,name,tier,note\n" + "".join(f'{digest},k,free,"a\n""b"""\n' for digest in DIGESTS)


def upload(site: Client, text: str | bytes = FILE, **changed):
    content = text.encode() if isinstance(text, str) else text
    return site.post(PAGE, FORMAT | {"file": SimpleUploadedFile("keys.csv", content)} | changed)


def confirm(site: Client, page):
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
    return site.post(PAGE, {name: unescape(value) for name, value in fields})


def plain(page) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page.text))


def test_a_file_is_shown_before_it_is_imported(site: Client):
    assert site.get(PAGE).status_code == 200
    page = upload(site)
    assert "Nothing has been changed yet" in page.text
    assert "New keys 3 in the tier free 3 Here already, left as they are 0" in plain(page)
    assert "sk_live_…, 32 characters, base62" in page.text
    assert not APIKey.objects.exists()
    assert not ForeignFormat.objects.exists()

    done = confirm(site, page)
    assert done.status_code == 302
    [message] = site.get(done.url).context["messages"]
    assert str(message) == "Imported: 3 keys."
    assert {bytes(key.digest).hex() for key in APIKey.objects.all()} == set(DIGESTS)
    assert {key.note for key in APIKey.objects.all()} == {'a\n"b"'}
    assert AuditEvent.objects.filter(actor="admin:alice", action="created").count() == 3
    assert AuditEvent.objects.get(action="imported").detail["file"] == "keys.csv"
    assert "imported" in site.get("/admin/api_manager/auditevent/").text

    again = upload(site)
    assert "there is nothing to import" in again.text
    assert ">Import</button>" not in again.text


def test_a_name_that_holds_a_key_is_refused(site: Client):
    file = SimpleUploadedFile(f"of-rlk_live_{'0' * 49}.csv", FILE.encode())
    page = site.post(PAGE, FORMAT | {"file": file, "confirmed": "1"})
    assert "Its name holds an API key" in page.text
    assert not APIKey.objects.exists()


def test_what_is_wrong_is_told_line_by_line(site: Client):
    page = upload(site, "digest,name,tier\nabc,x,free\n" + f"{DIGESTS[0]},,gold\n" * 60)
    text = plain(page)
    assert "121 errors: nothing was imported." in text
    assert "These are the first 100." in text
    assert "2 digest expected a SHA-256 digest" in text
    assert "3 tier there is no tier &#x27;gold&#x27;" in text
    assert 'name="confirmed"' not in page.text
    page = upload(site, b"digest,name,tier\n\xff\n")
    assert "is not UTF-8" in page.text
    assert "the column is missing" in upload(site, b"").text


def test_what_is_wrong_with_the_form_is_told_at_its_field(site: Client):
    for changed, error in (
        ({"file": ""}, "Choose a file."),
        ({"min_length": "20"}, "A key needs 16 characters after its prefix"),
        ({"prefix": "rlk_"}, "So begin the keys and tokens that are issued here."),
        ({"content": "no base64", "file_name": "x.csv", "file": ""}, "the column is missing"),
        ({"confirmed": "1", "min_length": "20"}, "A key needs 16 characters after its prefix"),
    ):
        assert error in upload(site, **changed).text
    assert "too large for a page" in upload(site, b"x" * (MAX_UPLOAD_BYTES + 1)).text
    for number in range(20):
        ForeignFormat.objects.create(prefix="x", min_length=20 + number, max_length=90, alphabet="hex")
    assert "20 formats of keys are known" in upload(site).text
    assert not APIKey.objects.exists()


def test_whoever_may_issue_no_keys_may_import_none(client: Client, db):
    viewer = User.objects.create_user("vic", password="not-a-common-one-9", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(viewer)
    assert client.get(PAGE).status_code == 403
    assert upload(client).status_code == 403
    page = client.get("/admin/api_manager/apikey/")
    assert "Import keys" not in page.text
    assert 'value="export"' in page.text
    assert 'value="revoke"' not in page.text
