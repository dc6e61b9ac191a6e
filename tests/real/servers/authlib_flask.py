"""Authlib in Flask, with what its documentation leaves to a deployment: a client, a person's decision, tables of tokens."""

import time
from importlib.metadata import version

import stage
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc8628 import (
    DEVICE_CODE_GRANT_TYPE,
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    DeviceCredentialDict,
)
from flask import Flask, request

TITLE = f"Authlib {version('Authlib')}"
codes, decisions, polled, tokens = {}, {}, {}, []


class Client(ClientMixin):
    def get_client_id(self):
        return "keyfob"

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, _uri):
        return False

    def check_client_secret(self, _secret):
        return False

    def check_endpoint_auth_method(self, method, _endpoint):
        return method == "none"

    def check_response_type(self, _response_type):
        return False

    def check_grant_type(self, grant_type):
        return grant_type in (DEVICE_CODE_GRANT_TYPE, "refresh_token")


class Token(TokenMixin):
    def __init__(self, answer):
        self.answer, self.revoked = answer, False

    def check_client(self, client):
        return client.get_client_id() == "keyfob"

    def get_scope(self):
        return self.answer.get("scope", "")

    def get_expires_in(self):
        return self.answer["expires_in"]

    def is_expired(self):
        return False

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return "ada"

    def get_client(self):
        return Client()


class Device(DeviceAuthorizationEndpoint):
    INTERVAL = 1

    def get_verification_uri(self):
        return f"{request.host_url}device"

    def save_device_credential(self, client_id, scope, data):
        data = {**data, "client_id": client_id, "scope": scope or "", "expires_at": time.time() + data["expires_in"]}
        codes[data["device_code"]] = DeviceCredentialDict(data)


class Polls(DeviceCodeGrant):
    def query_device_credential(self, device_code):
        return codes.get(device_code)

    def query_user_grant(self, user_code):
        return decisions.get(user_code)

    def should_slow_down(self, credential):
        code, now = credential["device_code"], time.monotonic()
        last, polled[code] = polled.get(code, 0), now
        return now - last < 1


class Refreshes(grants.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ["none"]

    def authenticate_refresh_token(self, refresh_token):
        return find(refresh_token, "refresh_token")

    def authenticate_user(self, token):
        return token.get_user()

    def revoke_old_credential(self, token):
        token.revoked = True


class Revokes(RevocationEndpoint):
    CLIENT_AUTH_METHODS = ["none"]

    def query_token(self, token, _hint):
        return find(token, "refresh_token") or find(token, "access_token")

    def revoke_token(self, token, _request):
        token.revoked = True


def find(value, name):
    return next((t for t in tokens if t.answer.get(name) == value and not t.revoked), None)


def start(origin, _folder):
    app = Flask(__name__)
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True

    def save(answer, _request):
        tokens.append(Token(answer))

    server = AuthorizationServer(app, query_client=lambda id: Client() if id == "keyfob" else None, save_token=save)
    server.register_endpoint(Device)
    server.register_endpoint(Revokes)
    server.register_grant(Polls)
    server.register_grant(Refreshes)
    app.post("/token", endpoint="token")(server.create_token_response)
    for name in ("device_authorization", "revocation"):
        app.post(f"/{name}", endpoint=name)(lambda name=name: server.create_endpoint_response(name))
    endpoints = {"device-authorization": "device_authorization", "token": "token", "revocation": "revocation"}
    return stage.listen(app), {f"{name}-endpoint": f"{origin}/{path}" for name, path in endpoints.items()}


def approve(code):
    decisions[code] = ("ada", True)


def deny(code):
    decisions[code] = ("ada", False)


def expire(code):
    for credential in codes.values():
        if credential["user_code"] == code:
            credential["expires_at"] = time.time() - 1


def revoke():
    for token in tokens:
        token.revoked = True
