"""Asks a credential of the Azure SDK for tokens, and says in lines of JSON what it gave.

    python3 credential.py '{"credential": "AzureCliCredential", "scope": "…", "calls": 5, "options": {…}}'
"""

import json
import sys

import azure.identity
from azure.core.exceptions import ClientAuthenticationError

asked = json.loads(sys.argv[1])
credential = getattr(azure.identity, asked["credential"])()
for _ in range(asked["calls"]):
    try:
        token = credential.get_token(asked["scope"], **asked["options"])
        line = {"token": token.token, "expires_on": token.expires_on}
    except azure.identity.CredentialUnavailableError as error:
        line = {"unavailable": str(error)}
    except ClientAuthenticationError as error:
        line = {"failed": str(error)}
    print(json.dumps(line))
