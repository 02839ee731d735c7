"""What all tables share."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    DateTime,
    Numeric,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

NOW: Final = text("statement_timestamp()")


class Base(DeclarativeBase):
    """The metadata of the shared schema."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own declaration
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        Decimal: Numeric(12, 4),
    }
