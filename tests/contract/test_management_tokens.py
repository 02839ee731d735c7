"""What both services say of management tokens."""

from api_manager import tokens
from api_manager.models import ManagementToken
from ratelimiter.keys.tokens import BOOTSTRAP, Scope


def test_the_admin_offers_the_scopes_that_the_api_asks_for():
    assert ManagementToken.Scope.values == list(Scope)


def test_no_token_can_have_the_name_of_the_environments():
    assert BOOTSTRAP.name == tokens.BOOTSTRAP_NAME
