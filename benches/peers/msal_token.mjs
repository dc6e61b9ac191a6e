// What a person writes to print a token with MSAL for Node: `node msal_token.mjs FOLDER`.

import { readFileSync } from "node:fs";
import { PublicClientApplication } from "@azure/msal-node";

const app = new PublicClientApplication({
    auth: {
        clientId: "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        authority: "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111",
    },
});
const cache = app.getTokenCache();
cache.deserialize(readFileSync(`${process.argv[2]}/msal_token_cache.json`, "utf8"));
const [account] = await cache.getAllAccounts();
const scopes = ["https://management.core.windows.net//.default"];
console.log((await app.acquireTokenSilent({ account, scopes })).accessToken);
