"""What statements are drawn from: the history of prices, and that of keys' tiers and owners."""

from django.db import models
from django.db.models.functions import Now

from .checks import price_checks
from .key import APIKey
from .tier import Prices, Tier


class TierPrice(Prices):
    """What a tier cost from a moment on; a trigger on ``tier`` writes it, and nothing changes it.

    It outlives the tier, so that a statement of last year can still be drawn.
    """

    tier = models.ForeignKey(
        Tier, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="prices"
    )
    tier_name = models.CharField(max_length=50)
    valid_from = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "tier_price"
        default_permissions = ()
        constraints = (*price_checks("tier_price"),)

    def __str__(self) -> str:
        return f"{self.tier_name} {self.valid_from:%Y-%m-%d %H:%M:%S}"


class KeyTerms(models.Model):
    """Which tier and owner a key had from a moment on; a trigger on ``api_key`` writes it.

    A chain of rotations is one key here: its terms are those of its newest key. Only an erasure changes rows.
    """

    chain = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="terms",
        help_text="The first key of the chain.",
    )
    tier = models.ForeignKey(
        Tier, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="terms"
    )
    owner_email = models.CharField(max_length=254, help_text="In lower case; erased-7 once it is erased.")
    ends_at = models.DateTimeField(null=True, help_text="When the key expires or was revoked.")
    valid_from = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "key_terms"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.chain_id} {self.valid_from:%Y-%m-%d %H:%M:%S}"


class Statement(KeyTerms):
    """No rows of its own: the name by which the admin's pages and the permission of statements go."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "statement"
