"""What the keys of other systems look like."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Now

from api_manager import foreign


class ForeignFormat(models.Model):
    """What the keys of another system look like that were imported; the API looks up no other foreign string.

    See ``api_manager.foreign`` for what each field means.
    """

    class Alphabet(models.TextChoices):
        """What may follow the prefix."""

        HEX = "hex", "hex: 0-9, a-f, A-F"
        BASE62 = "base62", "base62: letters and digits"
        BASE64URL = "base64url", "base64url: letters, digits, - and _"
        VISIBLE = "visible", "visible: any character of ASCII but the space"

    prefix = models.CharField(max_length=64, blank=True)
    min_length = models.SmallIntegerField(help_text="Of a whole key, with its prefix.")
    max_length = models.SmallIntegerField()
    alphabet = models.CharField(max_length=10, choices=Alphabet)
    created_at = models.DateTimeField("created", db_default=Now(), editable=False)

    class Meta:
        db_table = "foreign_format"
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=["prefix", "min_length", "max_length", "alphabet"], name="foreign_format_key"
            ),
            models.CheckConstraint(
                name="foreign_format_prefix_check",
                condition=Q(prefix__regex=r"^[!-~]*$") & ~Q(prefix__regex=r"^rl[km]_"),
            ),
            models.CheckConstraint(
                name="foreign_format_length_check",
                condition=Q(
                    min_length__gte=Length("prefix") + foreign.MIN_SECRET_LENGTH,
                    max_length__gte=F("min_length"),
                    max_length__lte=foreign.MAX_LENGTH,
                ),
            ),
            models.CheckConstraint(
                name="foreign_format_alphabet_check",
                condition=Q(alphabet__in=["hex", "base62", "base64url", "visible"]),
            ),
        )

    def __str__(self) -> str:
        longest = "" if self.min_length == self.max_length else f"-{self.max_length}"
        return f"{self.prefix}…, {self.min_length}{longest} characters, {self.alphabet}"
