"""Django for the servers that are applications of it: one project, one database, one person."""

import pathlib
import sys
import types

import django
from django.conf import settings

PERSON = "ada"


def key():
    """A signing key in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode()


def project(folder, apps, middleware, urls, **more):
    """Sets Django up, with its tables; the WSGI application. `urls` gives the patterns once Django is there."""
    root = types.ModuleType("urls")
    sys.modules["urls"] = root
    settings.configure(
        SECRET_KEY="not secret",
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(pathlib.Path(folder) / "db.sqlite3"),
                "OPTIONS": {"timeout": 60},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            *apps,
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            *middleware,
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ROOT_URLCONF="urls",
        USE_TZ=True,
        DEBUG_PROPAGATE_EXCEPTIONS=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        **more,
    )
    django.setup()
    root.urlpatterns = urls()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user(PERSON, email="ada@example.com")
    return get_wsgi_application()


def browser(origin):
    """The person's browser, signed in to the site."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(HTTP_HOST=origin.removeprefix("http://"))
    backend = "django.contrib.auth.backends.ModelBackend"
    client.force_login(get_user_model().objects.get(username=PERSON), backend=backend)
    return client
