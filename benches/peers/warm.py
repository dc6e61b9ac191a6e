"""Leaves behind what a sign-in to Entra ID leaves: MSAL's token cache, and Azure CLI's folder around it.

    python warm.py FOLDER

Nothing is asked of a server: its answers are made up here, and end in ten years.
"""

import base64
import json
import pathlib
import pickle
import sys
import time

import msal

CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
TENANT = "11111111-1111-1111-1111-111111111111"
ACCOUNT = "22222222-2222-2222-2222-222222222222"
AUTHORITY = f"https://login.microsoftonline.com/{TENANT}"
SCOPES = ["https://management.core.windows.net//.default"]
TEN_YEARS = 10 * 365 * 24 * 3600


class Metadata:
    """Answers every GET with the authority's metadata, as the server would."""

    status_code = 200
    headers = {"Content-Type": "application/json"}
    text = json.dumps({
        "issuer": f"{AUTHORITY}/v2.0",
        "authorization_endpoint": f"{AUTHORITY}/oauth2/v2.0/authorize",
        "token_endpoint": f"{AUTHORITY}/oauth2/v2.0/token",
        "device_authorization_endpoint": f"{AUTHORITY}/oauth2/v2.0/devicecode",
    })

    def get(self, *_, **__):
        return self

    def raise_for_status(self):
        pass

    def close(self):
        pass


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def token_cache():
    end = int(time.time()) + TEN_YEARS
    claims = {"aud": CLIENT, "iss": f"{AUTHORITY}/v2.0", "exp": end, "oid": ACCOUNT, "tid": TENANT, "sub": "ada",
              "preferred_username": "ada@example.com", "name": "Ada"}
    cache = msal.SerializableTokenCache()
    cache.add({
        "client_id": CLIENT,
        "scope": SCOPES,
        "token_endpoint": f"{AUTHORITY}/oauth2/v2.0/token",
        "response": {
            "token_type": "Bearer",
            "access_token": "access." + "a" * 1393,
            "refresh_token": "r" * 800,
            "id_token": f"{encoded({'alg': 'none'})}.{encoded(claims)}.x",
            "client_info": encoded({"uid": ACCOUNT, "utid": TENANT}),
            "scope": " ".join(SCOPES),
            "expires_in": TEN_YEARS,
            "ext_expires_in": TEN_YEARS,
        },
    })
    return cache


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    cache = token_cache()
    (folder / "msal_token_cache.json").write_text(cache.serialize())
    http_cache = {}
    app = msal.PublicClientApplication(
        CLIENT, authority=AUTHORITY, token_cache=cache, http_client=Metadata(), http_cache=http_cache)
    assert app.acquire_token_silent(SCOPES, account=app.get_accounts()[0])
    (folder / "msal_http_cache.bin").write_bytes(pickle.dumps(http_cache))
    (folder / "azureProfile.json").write_text(json.dumps({
        "installationId": ACCOUNT,
        "subscriptions": [{
            "id": "33333333-3333-3333-3333-333333333333",
            "name": "Lab",
            "state": "Enabled",
            "user": {"name": "ada@example.com", "type": "user"},
            "isDefault": True,
            "tenantId": TENANT,
            "homeTenantId": TENANT,
            "managedByTenants": [],
            "environmentName": "AzureCloud",
        }],
    }))


main()
