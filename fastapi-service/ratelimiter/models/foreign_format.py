"""What the keys of other systems look like."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    Identity,
    SmallInteger,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from .base import NOW, Base


class ForeignFormat(Base):
    """What the keys of another system look like that were imported."""

    __tablename__ = "foreign_format"
    __table_args__ = (
        UniqueConstraint("prefix", "min_length", "max_length", "alphabet", name="foreign_format_key"),
        CheckConstraint(
            "prefix ~ '^[!-~]*$' AND NOT (prefix ~ '^rl[km]_')", name="foreign_format_prefix_check"
        ),
        CheckConstraint(
            "max_length >= min_length AND max_length <= 200 AND min_length >= length(prefix) + 16",
            name="foreign_format_length_check",
        ),
        CheckConstraint(
            "alphabet IN ('hex', 'base62', 'base64url', 'visible')", name="foreign_format_alphabet_check"
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    prefix: Mapped[str] = mapped_column(String(64))
    min_length: Mapped[int] = mapped_column(SmallInteger)
    max_length: Mapped[int] = mapped_column(SmallInteger)
    alphabet: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
