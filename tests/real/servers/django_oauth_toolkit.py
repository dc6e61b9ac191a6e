"""django-oauth-toolkit, with OpenID Connect."""

import datetime
from importlib.metadata import version

import pages
import stage

TITLE = f"django-oauth-toolkit {version('django-oauth-toolkit')}"
site = {}


def start(origin, folder):
    site["origin"] = origin

    def urls():
        from django.urls import include, path

        return [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]

    application = pages.project(
        folder,
        ["oauth2_provider"],
        [],
        urls,
        LOGIN_URL="/login",
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pages.key(),
            "SCOPES": {"openid": "OpenID", "read": "read"},
            "OAUTH_DEVICE_VERIFICATION_URI": f"{origin}/o/device/",
            "DEVICE_FLOW_INTERVAL": 1,
        },
    )
    from oauth2_provider.models import get_application_model

    model = get_application_model()
    model.objects.create(
        client_id="keyfob",
        client_type=model.CLIENT_PUBLIC,
        authorization_grant_type=model.GRANT_DEVICE_CODE,
        algorithm="RS256",
    )
    # Its metadata does not name these.
    endpoints = {"device-authorization": "device-authorization", "revocation": "revoke_token"}
    by_hand = {f"{name}-endpoint": f"{origin}/o/{path}/" for name, path in endpoints.items()}
    return stage.listen(application), {"issuer": f"{origin}/o", "scopes": ["openid"], **by_hand}


def approve(code):
    decide(code, "accept")


def deny(code):
    decide(code, "deny")


def decide(code, action):
    browser = pages.browser(site["origin"])
    confirm = browser.post("/o/device/", {"user_code": code})
    assert confirm.status_code == 302, confirm.content
    done = browser.post(confirm["Location"], {"action": action})
    assert done.status_code == 302, done.content


def expire(code):
    """The person types the code too late, which is when this server looks at its time."""
    from oauth2_provider.models import get_device_grant_model

    past = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(hours=1)
    get_device_grant_model().objects.filter(user_code=code).update(expires=past)
    assert pages.browser(site["origin"]).post("/o/device/", {"user_code": code}).status_code == 200


def revoke():
    from oauth2_provider.models import get_refresh_token_model

    for token in get_refresh_token_model().objects.filter(revoked__isnull=True):
        token.revoke()
