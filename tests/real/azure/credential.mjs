// Asks a credential of the Azure SDK for tokens, and says in lines of JSON what it gave.
//
//     node credential.mjs '{"credential": "AzureCliCredential", "scope": "…", "calls": 5, "options": {…}}'

import * as identity from '@azure/identity';

const asked = JSON.parse(process.argv[2]);
const credential = new identity[asked.credential]();
for (let call = 0; call < asked.calls; call++) {
  try {
    const { token, expiresOnTimestamp } = await credential.getToken(asked.scope, asked.options);
    console.log(JSON.stringify({ token, expires_on: expiresOnTimestamp / 1000 }));
  } catch (error) {
    const kind = error.name === 'CredentialUnavailableError' ? 'unavailable' : 'failed';
    console.log(JSON.stringify({ [kind]: error.message }));
  }
}
