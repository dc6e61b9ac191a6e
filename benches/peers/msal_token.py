"""What a person writes to print a token with MSAL for Python: `python msal_token.py FOLDER`."""

import pathlib
import pickle
import sys

import msal

folder = pathlib.Path(sys.argv[1])
cache = msal.SerializableTokenCache()
cache.deserialize((folder / "msal_token_cache.json").read_text())
app = msal.PublicClientApplication(
    "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
    authority="https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111",
    token_cache=cache,
    # Without it every run asks the server for its metadata first.
    http_cache=pickle.loads((folder / "msal_http_cache.bin").read_bytes()),
)
account = app.get_accounts()[0]
print(app.acquire_token_silent(["https://management.core.windows.net//.default"], account=account)["access_token"])
