"""What ``/metrics`` counts, under which labels."""

from django.test import Client, override_settings
from prometheus_client.parser import text_string_to_metric_families

from api_manager.models import Tier

LATENCY = "django_http_requests_latency_seconds_by_view_method_count"


def samples(**options):
    """The values by name and labels."""
    answer = Client().get("/metrics", **options)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    assert "no-store" in answer["Cache-Control"]
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def added(before, *key):
    return samples()[key] - before.get(key, 0)


def test_a_scrape_needs_neither_a_login_nor_the_database():
    """Where a test asks for no database, pytest-django refuses each connection."""
    assert samples()["django_http_requests_before_middlewares_total",] > 0


def test_a_scrape_comes_by_a_host_that_is_allowed():
    with override_settings(ALLOWED_HOSTS=["django"]):
        assert samples(headers={"Host": "django:8001"})
        assert Client().get("/metrics", headers={"Host": "other:8001"}).status_code == 400


def test_metrics_take_get_and_head_only():
    assert Client().head("/metrics").status_code == 200
    assert Client().post("/metrics").status_code == 405


def test_a_page_is_counted_and_timed_by_the_name_of_its_view(site):
    tier = Tier.objects.get(name="free")
    view = "admin:api_manager_tier_change"
    before = samples()
    assert site.get(f"/admin/api_manager/tier/{tier.pk}/change/").status_code == 200
    assert added(before, LATENCY, "GET", view) == 1
    assert added(before, "django_http_responses_total_by_status_view_method_total", "200", "GET", view) == 1


def test_nothing_a_caller_invents_becomes_a_label():
    def ask(word):
        for path in (f"/{word}", f"/admin/{word}/", f"/admin/login/?q={word}"):
            Client().get(path)
            Client().generic(word, path)
        return set(samples())

    ask("FIRST")
    assert ask("SECOND") == ask("THIRD")
