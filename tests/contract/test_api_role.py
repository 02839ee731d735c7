"""What the API service's database role may not do."""

import psycopg2
import pytest

from ratelimiter.database import connect


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "DELETE FROM request_log",
        "DELETE FROM usage_minutely",
        "DELETE FROM usage_daily",
        "DELETE FROM endpoint_hourly",
        "SELECT * FROM request_log",
        "UPDATE api_key SET digest = digest",
        "DELETE FROM api_key",
        "UPDATE tier SET burst = 1",
        "UPDATE tier_limit SET burst = 1",
        "INSERT INTO tier_limit (tier_id, name, requests) VALUES (1, 'mine', 1)",
        "DELETE FROM tier_limit",
        "UPDATE key_limit SET api_key_id = 1",
        "TRUNCATE key_limit",
        "SELECT * FROM audit_event",
        "INSERT INTO management_token (name) VALUES ('mine')",
        "UPDATE management_token SET scopes = scopes",
        "UPDATE management_token SET revoked_at = NULL",
        "DELETE FROM management_token",
        "INSERT INTO foreign_format (prefix) VALUES ('')",
        "DELETE FROM foreign_format",
        "UPDATE tier SET price_per_month = 0",
        "SELECT * FROM key_terms",
        "INSERT INTO key_terms (chain_id) VALUES (1)",
        "UPDATE tier_price SET price_per_month = 0",
        "SELECT * FROM webhook",
        "INSERT INTO notice (kind, dedupe_key) VALUES ('ping', 'mine')",
        "DELETE FROM delivery",
        "SELECT key_in_notice(1)",
        "SELECT * FROM auth_user",
        "SELECT * FROM django_session",
        "SELECT * FROM otp_totp_totpdevice",
        "SELECT * FROM otp_static_statictoken",
        "DROP TABLE request_log_default",
    ],
)
def test_the_api_role_may_do_no_more_than_it_must(database, statement):
    connection = connect(database.api_url, "test")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()
