"""``manage.py create_operator``: makes the first superuser from the environment."""

import os
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction


class Command(BaseCommand):
    """Idempotent: a user of that name who exists already is left as it is."""

    help = "Create the superuser DJANGO_SUPERUSER_USERNAME (with …_PASSWORD and …_EMAIL) unless it exists."

    def handle(self, **_options: Any) -> None:
        """Creates the user, or says that there is one."""
        username, password, email = (_variable(name) for name in ("USERNAME", "PASSWORD", "EMAIL"))
        if User.objects.filter(username=username).exists():
            self.stderr.write(f"Operator {username} exists already and is left as it is.", str)
            return
        user = User(username=username, email=email, is_staff=True, is_superuser=True)
        _check("USERNAME", User.username_validator, username)
        _check("EMAIL", validate_email, email)
        _check("PASSWORD", validate_password, password, user)
        user.set_password(password)
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError:  # another start-up was faster
            self.stderr.write(f"Operator {username} exists already and is left as it is.", str)
        else:
            self.stderr.write(f"Operator {username} created.", str)


def _variable(name: str) -> str:
    value = os.environ.get(f"DJANGO_SUPERUSER_{name}", "")
    if not value:
        raise CommandError(f"Set the DJANGO_SUPERUSER_{name} environment variable")
    return value


def _check(name: str, validate: Any, *values: Any) -> None:
    try:
        validate(*values)
    except ValidationError as exc:
        raise CommandError(f"DJANGO_SUPERUSER_{name}: {' '.join(exc.messages)}") from exc
