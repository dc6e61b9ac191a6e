"""django-allauth's OpenID provider."""

from importlib.metadata import version

import pages
import stage

TITLE = f"django-allauth {version('django-allauth')}"
site = {}


def start(origin, folder):
    site["origin"] = origin

    def urls():
        from django.urls import include, path

        return [path("accounts/", include("allauth.urls")), path("", include("allauth.idp.urls"))]

    application = pages.project(
        folder,
        ["allauth", "allauth.account", "allauth.idp.oidc"],
        ["allauth.account.middleware.AccountMiddleware"],
        urls,
        AUTHENTICATION_BACKENDS=[
            "django.contrib.auth.backends.ModelBackend",
            "allauth.account.auth_backends.AuthenticationBackend",
        ],
        IDP_OIDC_PRIVATE_KEY=pages.key(),
        IDP_OIDC_DEVICE_CODE_INTERVAL=1,
        IDP_OIDC_RATE_LIMITS=False,
    )
    from allauth.idp.oidc.models import Client

    client = Client(id="keyfob", name="keyfob", type=Client.Type.PUBLIC)
    client.scopes = "openid\nprofile\nemail"
    client.grant_types = f"{Client.GrantType.DEVICE_CODE}\n{Client.GrantType.REFRESH_TOKEN}"
    client.save()
    return stage.listen(application), {"issuer": origin, "scopes": ["openid", "email"]}


def approve(code):
    decide(code, "confirm")


def deny(code):
    decide(code, "deny")


def decide(code, action):
    browser = pages.browser(site["origin"])
    done = browser.post(f"/identity/o/device?code={code}", {"action": action})
    assert done.status_code == 200 and b"<form" not in done.content, done.content


def expire(code):
    from allauth.idp.oidc.internal.oauthlib import device_codes
    from django.core.cache import cache

    device_code = cache.get(device_codes.cache_user_code_key(code))
    assert cache.delete(device_codes.cache_device_code_key(device_code))


def revoke():
    from allauth.idp.oidc.models import Token

    Token.objects.all().delete()
