"""glewlwyd, Debian's package, with a database of its own."""

import http.client
import json
import pathlib
import socket
import sqlite3
import subprocess
import time

import pages

SCHEMA = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3"
CONFIG = """
port = {port}
bind_address = "127.0.0.1"
external_url = "{origin}"
login_url = "login.html"
admin_scope = "g_admin"
profile_scope = "g_profile"
cookie_domain = "127.0.0.1"
cookie_secure = 0
log_mode = "file"
log_level = "WARNING"
log_file = "{folder}/glewlwyd.log"
static_files_path = "/usr/share/glewlwyd/webapp"
user_module_path = "/usr/lib/glewlwyd/user"
user_middleware_module_path = "{folder}/none"
client_module_path = "/usr/lib/glewlwyd/client"
user_auth_scheme_module_path = "/usr/lib/glewlwyd/scheme"
plugin_module_path = "/usr/lib/glewlwyd/plugin"
hash_algorithm = "SHA512"
allow_multiple_user_per_session = false
database = {{ type = "sqlite3"; path = "{folder}/db.sqlite3"; }};
"""
PLUGIN = {
    "jwt-type": "rsa",
    "jwt-key-size": "256",
    "access-token-duration": 3600,
    "refresh-token-duration": 86400,
    "code-duration": 600,
    "refresh-token-rolling": True,
    "refresh-token-one-use": "always",
    "allow-non-oidc": True,
    "auth-type-device-enabled": True,
    "auth-type-refresh-enabled": True,
    "device-authorization-expiration": 600,
    "device-authorization-interval": 1,
    "introspection-revocation-allowed": True,
    "introspection-revocation-allow-target-client": True,
    "subject-type": "public",
    "oauth-rar-allowed": False,
}
TITLE = "glewlwyd " + subprocess.run(["glewlwyd", "--version"], capture_output=True, text=True, check=True).stdout.strip()
site = {}


def start(origin, folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site.update(origin=origin, port=port, folder=folder, cookie=None)
    database = sqlite3.connect(f"{folder}/db.sqlite3")
    database.executescript(pathlib.Path(SCHEMA).read_text())
    database.close()
    (pathlib.Path(folder) / "none").mkdir()
    config = pathlib.Path(folder) / "glewlwyd.conf"
    config.write_text(CONFIG.format(port=port, origin=origin, folder=folder))
    # Ends with this process, however that ends.
    script = 'glewlwyd --config-file="$0" < /dev/null & read -r end; kill $!'
    site["process"] = subprocess.Popen(["sh", "-c", script, config], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    sign_in("admin", "password")
    key = pages.key()
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_pem_private_key(key.encode(), None).public_key()
    public = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    parameters = {**PLUGIN, "iss": f"{origin}/api/oidc", "key": key, "cert": public}
    ask("POST", "/api/mod/plugin/", {"module": "oidc", "name": "oidc", "display_name": "oidc", "parameters": parameters})
    client = {"client_id": "keyfob", "name": "keyfob", "confidential": False, "enabled": True}
    kinds = ["device_authorization", "refresh_token", "delete_token"]
    ask("POST", "/api/client/", {**client, "authorization_type": kinds, "scope": ["openid"], "token_endpoint_auth_method": ["none"]})
    person = {"username": "ada", "name": "Ada", "email": "ada@example.com", "password": "lovelace", "enabled": True}
    ask("POST", "/api/user/", {**person, "scope": ["openid", "g_profile"]})
    sign_in("ada", "lovelace")
    ask("PUT", "/api/auth/grant/keyfob", {"scope": "openid"})
    return port, {"issuer": f"{origin}/api/oidc", "scopes": ["openid"]}


def sign_in(name, password):
    """The person's browser, or the administrator's, signed in to the site."""
    for _ in range(600):
        try:
            ask("POST", "/api/auth/", {"username": name, "password": password})
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise TimeoutError("glewlwyd does not listen")


def ask(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", site["port"])
    headers = {"Content-Type": "application/json", **({"Cookie": site["cookie"]} if site["cookie"] else {})}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    reply = connection.getresponse()
    answer = reply.read()
    assert reply.status < 400, (method, path, reply.status, answer)
    if cookie := reply.getheader("Set-Cookie"):
        site["cookie"] = cookie.split(";")[0]
    return reply.getheader("Location"), answer


def approve(code):
    location, answer = ask("GET", f"/api/oidc/device?code={code}&g_continue")
    assert "prompt=deviceComplete" in (location or ""), (location, answer)


def deny(code):
    raise NotImplementedError


def expire(code):
    execute("UPDATE gpo_device_authorization SET gpoda_expires_at = strftime('%s','now') - 1")


def revoke():
    execute("UPDATE gpo_refresh_token SET gpor_enabled = 0")


def execute(statement):
    database = sqlite3.connect(f"{site['folder']}/db.sqlite3", timeout=60)
    with database:
        database.execute(statement)
    database.close()
