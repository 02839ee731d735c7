import base64
import hashlib
import io
import tracemalloc
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from api_manager import audit, credentials, keys
from api_manager.audit import Actor
from api_manager.importing import formats, lines, load
from api_manager.models import APIKey, AuditEvent, ForeignFormat, Tier

FORMAT = ("--prefix", "sk_live_", "--length", "32-40")
REQUIRED = "digest,name,tier\n"


def secret(number=1):
    return f"sk_live_{number:024d}"


def digest(number=1):
    return hashlib.sha256(secret(number).encode()).hexdigest()


@pytest.fixture
def import_file(db, tmp_path):
    """Run the command on a file of this text; returns what it said."""

    def run(text, *options, file="keys.csv"):
        path = tmp_path / file
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        err = io.StringIO()
        try:
            call_command("import_keys", str(path), *FORMAT, *options, stderr=err)
        except CommandError as exc:
            exc.args = (f"{err.getvalue()}{exc}",)
            raise
        return err.getvalue()

    return run


def test_every_column_is_taken_over(import_file):
    said = import_file(
        "digest,name,owner_email,tier,requests_per_hour,burst,is_active,expires_at,allowed_cidrs,note,hint\n"
        f'{digest(1)},"Shop, east",a@example.org,pro,500,9,f,2090-01-02T03:04:05+01:00,'
        '"10.0.0.0/8 2001:db8::/32","says ""hi""\n\\.\n\tand \\N",sk_live_…0001\n'
        f"{digest(2).upper()},ünï,,free,,,,,,,\n"
    )
    assert said.splitlines() == [
        "Imported: 2 keys (free 1, pro 1).",
        "The format of the keys is new; the API knows it at once.",
    ]
    first, second = APIKey.objects.order_by("pk")
    assert (first.name, first.owner_email, first.tier.name) == ("Shop, east", "a@example.org", "pro")
    assert (first.requests_per_hour, first.burst, first.is_active) == (500, 9, False)
    assert first.expires_at.isoformat() == "2090-01-02T02:04:05+00:00"
    assert first.allowed_cidrs == ["10.0.0.0/8", "2001:db8::/32"]
    assert (first.note, first.hint) == ('says "hi"\n\\.\n\tand \\N', "sk_live_…0001")
    assert bytes(first.digest) == credentials.digest(secret(1))
    assert (second.name, second.owner_email, second.tier.name) == ("ünï", "", "free")
    assert (second.requests_per_hour, second.burst, second.is_active) == (None, None, True)
    assert (second.expires_at, second.allowed_cidrs, second.note) == (None, [], "")
    assert second.hint == f"sha256:{digest(2)[:12]}…"
    for key in (first, second):
        event = AuditEvent.objects.get(target_type="key", target_id=key.pk)
        assert (event.action, event.actor) == ("created", "command:import_keys")
        said = audit.values(key, keys.FIELDS) | {"hint": key.hint, "imported_from": "keys.csv"}
        assert {name: event.detail[name] for name in said} == said
    event = AuditEvent.objects.get(action="imported")
    assert (event.target_type, event.target_id) == ("database", 0)
    assert event.detail == {
        "file": "keys.csv",
        "format": "sk_live_…, 32-40 characters, base62",
        "keys": 2,
        "tier free": 1,
        "tier pro": 1,
    }
    assert str(ForeignFormat.objects.get()) == "sk_live_…, 32-40 characters, base62"


def test_a_second_run_changes_nothing_and_says_so(import_file):
    text = REQUIRED + "".join(f"{digest(n)},key {n},free\n" for n in range(3))
    import_file(text)
    events = AuditEvent.objects.count()
    said = import_file(text.replace("free", "pro"))
    assert said.splitlines() == ["Here already, and left as they are: 3 keys.", "Nothing was changed."]
    assert AuditEvent.objects.count() == events
    assert set(APIKey.objects.values_list("tier__name", flat=True)) == {"free"}
    said = import_file(text + f"{digest(9)},nine,pro\n")
    assert said.splitlines() == [
        "Imported: 1 keys (pro 1).",
        "Here already, and left as they are: 3 keys.",
    ]


def test_a_dry_run_says_what_would_be_and_changes_nothing(import_file):
    said = import_file(f"{REQUIRED}{digest()},one,free\n", "--dry-run")
    assert "To import: 1 keys (free 1)." in said
    assert "Nothing was changed: this was a dry run." in said
    assert not APIKey.objects.exists()
    assert not ForeignFormat.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    "written",
    [
        digest(),
        digest().upper(),
        base64.b64encode(bytes.fromhex(digest())).decode(),
        base64.b64encode(bytes.fromhex(digest())).decode().rstrip("="),
        base64.urlsafe_b64encode(bytes.fromhex(digest())).decode(),
    ],
)
def test_a_digest_is_written_in_hexadecimal_or_base64(import_file, written):
    import_file(f"\ufeff{REQUIRED}{written} , x ,free\r\n\r\n")
    key = APIKey.objects.get()
    assert (bytes(key.digest).hex(), key.name) == (digest(), "x")


WRONG_LINES = [
    ("", "abc,x,free", "line 2, digest: expected a SHA-256 digest: 64 hexadecimal digits"),
    ("", "z" * 64 + ",x,free", "line 2, digest: expected a SHA-256 digest"),
    ("", "é" * 43 + ",x,free", "line 2, digest: expected a SHA-256 digest"),
    ("", ",x,free", "line 2, digest: this may not be empty"),
    ("", "{d},,free", "line 2, name: this may not be empty"),
    ("", "{d}," + "x" * 101 + ",free", "line 2, name: expected 100 characters at most, not 101"),
    ("", "{d},a\0b,free", "NUL"),
    ("", "{d}," + secret() + ",free", "line 2, name: this is the key itself"),
    ("", "{d},rlk_live_0123456789ab,free", "line 2, name: this holds an API key"),
    ("", "{d},x,gold", "line 2, tier: there is no tier 'gold'; there are free, basic, pro, enterprise"),
    ("", "{d},x,", "line 2, tier: this may not be empty"),
    ("", "{d},x", "line 2: expected 3 fields, as in the first line, not 2"),
    ("", '{d},"x,free', "line 2: this is no CSV"),
    ("owner_email", "{d},x,free,nobody", "line 2, owner_email: expected an e-mail address"),
    ("burst", "{d},x,free,0", "line 2, burst: expected a whole number from 1 to 1,000,000,000"),
    ("burst", "{d},x,free,1e3", "line 2, burst: expected a whole number"),
    (
        "burst",
        "{d},x,free,1000000000",
        "line 2, burst: at 100 requests per hour a burst of 1,000,000,000",
    ),
    (
        "requests_per_hour",
        "{d},x,free," + "9" * 5000,
        "line 2, requests_per_hour: expected a whole number",
    ),
    ("expires_at", "{d},x,free,soon", "line 2, expires_at: expected ISO 8601"),
    (
        "expires_at",
        "{d},x,free,1999-01-01",
        "line 2, expires_at: expected a time in the years 2000 to 8999",
    ),
    ("is_active", "{d},x,free,maybe", "line 2, is_active: expected true or false"),
    (
        "allowed_cidrs",
        "{d},x,free,10.0.0.1/8",
        "line 2, allowed_cidrs: 10.0.0.1/8: did you mean 10.0.0.0/8?",
    ),
    ("hint", "{d},x,free," + secret(), "line 2, hint: this is the key itself"),
    ("", "{d},of " + secret() + ",free", "line 2, name: this is the key itself"),
    ("note", '{d},x,free,"old:\n' + secret(2) + '"', "line 2, note: this holds a key of the stated format"),
    ("", "{d},x," + secret(), "line 2, tier: there is no such tier; there are free"),
    ("", secret() + ",x,free", "line 2, digest: expected a SHA-256 digest"),
    ("owner_email", "{d},x,free," + secret(), "line 2, owner_email: expected an e-mail address"),
    ("expires_at", "{d},x,free," + secret(), "line 2, expires_at: expected ISO 8601"),
    ("allowed_cidrs", "{d},x,free," + secret(), "line 2, allowed_cidrs: expected IP addresses and networks"),
    (secret(), "{d},x,free,y", "line 1: there is no such column; there are digest, name"),
    ("hint", "{d},x,free," + "x" * 33, "line 2, hint: expected 32 characters at most, not 33"),
    ("key", "{d},x,free,y", "line 1: there is no column 'key'; there are digest, name"),
    ("name", "{d},x,free,y", "line 1, name: the column stands here more than once"),
]


def test_what_is_wrong_with_a_line_is_said_and_nothing_is_imported(import_file):
    for columns, values, error in WRONG_LINES:
        heading = REQUIRED.strip() + (f",{columns}" if columns else "")
        with pytest.raises(CommandError) as caught:
            import_file(f"{heading}\n{values.replace('{d}', digest())}\n")
        assert error in str(caught.value), (columns, values)
        assert secret(0)[:16] not in str(caught.value), (columns, values)
        assert "Nothing was imported." in str(caught.value)
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "line 1, digest: the column is missing; the first line must name the columns"),
        (b"digest,name\n", "line 1, tier: the column is missing"),
        (REQUIRED.encode() + b"\xff,x,free\n", "line 2: this, or what follows, is not UTF-8"),
        (REQUIRED.encode() + b"x" * 70_000, "line 2: this is no CSV: a line may have 65,535 bytes at most"),
    ],
)
def test_a_file_that_is_no_table_of_keys_is_refused(import_file, text, error):
    with pytest.raises(CommandError) as caught:
        import_file(text)
    assert error in str(caught.value)


def test_all_errors_are_found_and_the_first_hundred_told(import_file):
    good = f"{digest(1)},one,free\n{digest(2)},two,free\n"
    doubles = f"{digest(1)},again,free\n"
    with pytest.raises(CommandError) as caught:
        import_file(REQUIRED + good + doubles + f"{digest(3)},x,gold\n" * 150)
    said = str(caught.value).splitlines()
    assert "line 4, digest: the same digest stands on line 2" in said
    assert "line 5, tier: there is no tier 'gold'; there are free, basic, pro, enterprise" in said
    assert sum(line.startswith("line ") for line in said) == lines.MAX_ERRORS
    assert said[-1] == "151 errors, of which 51 are not shown. Nothing was imported."
    assert not APIKey.objects.exists()


WRONG_FORMATS = [
    (("--prefix", "rlk_live_"), "--prefix: So begin the keys and tokens that are issued here."),
    (("--prefix", "a b"), "--prefix: Printable ASCII without spaces only."),
    (
        ("--length", "20"),
        "--length: A key needs 16 characters after its prefix, or it could be guessed: 24",
    ),
    (("--length", "40-32"), "--length: The longest key cannot be shorter than the shortest."),
    (("--length", "40-201"), "--length: Ensure this value is less than or equal to 200."),
    (("--length", "many"), "expected a number of characters such as 32, or two such as 32-40"),
    (("--alphabet", "morse"), "--alphabet: Select a valid choice."),
]


def test_a_format_that_cannot_be_is_refused(import_file):
    for options, error in WRONG_FORMATS:
        with pytest.raises(CommandError) as caught:
            import_file(f"{REQUIRED}{digest()},x,free\n", *options)
        assert error in str(caught.value)
    assert not APIKey.objects.exists()


def test_a_corrected_format_is_kept_beside_the_wrong_one_and_not_without_end(import_file):
    text = f"{REQUIRED}{digest()},x,free\n"
    import_file(text)
    assert "The format of the keys is new" in import_file(text, "--alphabet", "hex")
    assert ForeignFormat.objects.count() == AuditEvent.objects.filter(action="imported").count() == 2
    for number in range(formats.MAX_FORMATS - 2):
        ForeignFormat.objects.create(prefix="x", min_length=20 + number, max_length=90, alphabet="hex")
    with pytest.raises(CommandError, match="Nothing was imported: 20 formats of keys are known"):
        import_file(text, "--length", "50")
    import_file(text)


def test_a_file_that_is_not_there_is_said(db, tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_keys", str(tmp_path / "none.csv"), *FORMAT)


def test_two_imports_do_not_run_at_once(import_file):
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('import of keys'))")
        with pytest.raises(CommandError, match="Nothing was imported: Another import is under way"):
            import_file(f"{REQUIRED}{digest()},x,free\n")
    finally:
        other.close()
    import_file(f"{REQUIRED}{digest()},x,free\n")


def test_an_imported_key_is_rotated_to_one_of_ours(import_file):
    import_file(f"{REQUIRED}{digest()},x,free\n")
    issued = keys.rotate(APIKey.objects.get().pk, timedelta(hours=1), Actor("test:x"))
    assert credentials.is_well_formed(issued.secret)
    assert issued.secret.startswith("rlk_live_")


def test_a_large_file_needs_no_more_memory_than_a_small_one(db):
    class Keys(io.RawIOBase):
        """A file of many keys that nobody holds as a whole."""

        def __init__(self, count):
            self._lines = (f"{digest(n)},k,free\n" if n else REQUIRED for n in range(count + 1))

        def readline(self, _size=-1, /):
            return next(self._lines, "").encode()

    def peak(count):
        tracemalloc.reset_peak()
        report = load.load(
            load.Source("many.csv", Keys(count)),
            ForeignFormat(prefix="sk_live_", min_length=32, max_length=40, alphabet="base62"),
            Actor("test:x"),
            lambda _bytes: None,
            dry_run=True,
        )
        assert (report.new, report.is_done) == (count, False)
        return tracemalloc.get_traced_memory()[1]

    Tier.objects.first()
    tracemalloc.start()
    try:
        peak(10)
        assert peak(5000) < 2 * peak(500)
    finally:
        tracemalloc.stop()
