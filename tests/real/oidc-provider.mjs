// The real npm package oidc-provider, a certified OpenID provider, unmodified, with the device flow,
// rotating refresh tokens, revocation and introspection; and beside it a control server by which a
// test plays the person at the browser and the administrator, and reads what the provider saw.
//
//   node oidc-provider.mjs '{"cert": F, "key": F, "ca": F, "accessTtl": S, "idTtl": S, "refreshTtl": S, "codeTtl": S}'
//
// Every key is optional; without `cert` it speaks http. It prints one line of JSON when it listens
// and ends when its standard input closes.

import { generateKeyPairSync } from "node:crypto";

// First, since it moves the console out of the way.
import { call, config, control, endWithTheTest, fingerprint, listen, OWN, random, ready } from "./wire.mjs";
import { visit } from "./person.mjs";

import { Provider } from "oidc-provider";


const DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code";

endWithTheTest();

/** What a test may change while the provider runs. */
const settings = {
  accessTtl: config.accessTtl ?? 3600,
  idTtl: config.idTtl ?? 3600,
  refreshTtl: config.refreshTtl ?? 86400,
  codeTtl: config.codeTtl ?? 600,
  /** A status that every request gets instead of an answer: the provider is down. */
  outage: 0,
};

const people = new Map(
  ["ada", "grace"].map((name) => [
    name,
    {
      sub: name,
      name,
      preferred_username: name,
      email: `${name}@example.test`,
      email_verified: true,
      groups: ["developers", `team-${name}`],
    },
  ]),
);

const clients = [
  {
    client_id: "kubernetes",
    application_type: "native",
    token_endpoint_auth_method: "none",
    grant_types: [DEVICE_CODE, "authorization_code", "refresh_token"],
    response_types: ["code"],
    // A browser comes back to it on whatever port (RFC 8252).
    redirect_uris: ["http://127.0.0.1"],
  },
  // The secrets hold what RFC 6749 wants form-encoded before Basic encodes it.
  {
    client_id: "lab basic",
    client_secret: "s3cret: with +/%& in it",
    token_endpoint_auth_method: "client_secret_basic",
  },
  {
    client_id: "lab-post",
    client_secret: "s3cret: with +/%& in it",
    token_endpoint_auth_method: "client_secret_post",
  },
];

// ---- storage: what the package asks every deployment to bring -------------------------------------

/** Everything in force, by kind and id. */
const store = new Map();

/** Every token ever issued, in order, whatever became of it. */
const ledger = [];

class Storage {
  constructor(kind) {
    this.kind = kind;
  }

  async upsert(id, payload, expiresIn) {
    const ends = Date.now() + (expiresIn ?? 86400) * 1000;
    if (!store.has(`${this.kind} ${id}`) && ["AccessToken", "RefreshToken"].includes(this.kind)) {
      ledger.push({ kind: this.kind, id, ends });
    }
    store.set(`${this.kind} ${id}`, { payload, ends });
  }

  async find(id) {
    return store.get(`${this.kind} ${id}`)?.payload;
  }

  #first(test) {
    for (const [key, { payload }] of store) {
      if (key.startsWith(`${this.kind} `) && test(payload)) return payload;
    }
    return undefined;
  }

  async findByUid(uid) {
    return this.#first((payload) => payload.uid === uid);
  }

  async findByUserCode(userCode) {
    return this.#first((payload) => payload.userCode === userCode);
  }

  async consume(id) {
    store.get(`${this.kind} ${id}`).payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    store.delete(`${this.kind} ${id}`);
  }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of store) {
      if (key.startsWith(`${this.kind} `) && payload.grantId === grantId) store.delete(key);
    }
  }
}

// ---- the provider ------------------------------------------------------------------------------------

let answer;
const { port, origin: issuer } = await listen((request, response) => answer(request, response));

const signingKey = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;

const provider = new Provider(issuer, {
  adapter: Storage,
  clients: clients.map((client) => ({
    grant_types: [DEVICE_CODE, "refresh_token"],
    response_types: [],
    redirect_uris: [],
    ...client,
  })),
  jwks: { keys: [{ ...signingKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: random() }] },
  cookies: { keys: [random()] },
  clockTolerance: 0,
  // Put the claims that Kubernetes reads into the ID token itself.
  conformIdTokenClaims: false,
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name", "preferred_username"],
    groups: ["groups"],
  },
  scopes: ["openid", "offline_access"],
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
  },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: () => settings.accessTtl,
    IdToken: () => settings.idTtl,
    RefreshToken: () => settings.refreshTtl,
    DeviceCode: () => settings.codeTtl,
    Grant: 86400,
    Interaction: 600,
    Session: 86400,
  },
  async findAccount(_ctx, sub) {
    const claims = people.get(sub);
    return claims && { accountId: sub, claims: async () => claims };
  },
});

/** What the program asked of the provider: neither a person's pages nor a test's own calls. */
const requests = [];
const pages = /^\/(auth(\/.*)?|device(\/(?!auth$).*)?|interaction\/.*)$/;

const now = () => Math.round(performance.now() * 1000) / 1000;

provider.use(async (ctx, next) => {
  if (ctx.get("x-test-own") || pages.test(ctx.path)) return next();
  const request = { at: now(), method: ctx.method, path: ctx.path };
  requests.push(request);
  if (settings.outage) {
    ctx.status = settings.outage;
    ctx.type = "html";
    ctx.body = "<h1>Down for maintenance</h1>";
  } else {
    await next();
  }
  const form = ctx.oidc?.body ?? {};
  request.status = ctx.status;
  request.auth = ctx.get("authorization") ? "basic" : form.client_secret ? "body" : "none";
  request.client = ctx.oidc?.client?.clientId;
  request.grant_type = form.grant_type;
  request.scope = form.scope;
  request.fields = Object.keys(form).sort();
  request.error = ctx.body?.error;
  request.answered = Object.keys(Object(ctx.body)).sort();
  if (form.device_code) request.device_code = fingerprint(form.device_code);
  if (ctx.body?.device_code) request.device_code = fingerprint(ctx.body.device_code);
  if (form.refresh_token) request.refresh_token = fingerprint(form.refresh_token);
  // The answer's end as the program may see it at the earliest.
  request.done = now();
  return undefined;
});

for (const event of ["server_error", "grant.error", "device_authorization.error"]) {
  provider.on(event, (_ctx, error) => {
    const words = event === "server_error" ? error.stack : (error.error_detail ?? error.message);
    process.stderr.write(`${event}: ${words}\n`);
  });
}

answer = provider.callback();

// ---- the control server --------------------------------------------------------------------------------

const live = (kind, id) => {
  const found = store.get(`${kind} ${id}`);
  return found && found.ends > Date.now() ? found.payload : undefined;
};

const controlPort = await control({
  /** The person signs in with {address, user_code, account?}; refuses with {turnBack: "code"|"login"|"consent"}. */
  "POST /visit": visit,

  /** Changes {accessTtl, idTtl, refreshTtl, codeTtl, outage}. */
  "POST /set": (changes) => {
    for (const [name, value] of Object.entries(changes)) {
      if (!(name in settings)) throw new Error(`no such setting: ${name}`);
      settings[name] = value;
    }
    return settings;
  },

  /** The administrator deletes {account}. */
  "POST /delete-person": ({ account }) => {
    if (!people.delete(account)) throw new Error(`nobody is called ${account}`);
  },

  /** The administrator ends everything: sessions, grants and tokens. */
  "POST /revoke-everything": () => store.clear(),

  /** What the program asked, in order of arrival; times are this process's milliseconds. */
  "GET /requests": () => requests,

  /** Every token issued: whether its time is up, and whether it is in force, used up by a rotation, or gone. */
  "GET /tokens": () =>
    ledger.map(({ kind, id, ends }) => {
      const payload = live(kind, id);
      return {
        kind,
        token: id,
        expired: ends <= Date.now(),
        fingerprint: fingerprint(id),
        state: !payload ? "gone" : payload.consumed ? "used" : "in force",
      };
    }),

  /** A client's own request, straight to the real endpoint: {path, form, client?, secret?}. */
  "POST /ask": async ({ path, form, client, secret }) => {
    const basic =
      client &&
      `Basic ${Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(secret)}`).toString("base64")}`;
    const { status, text } = await call(`${issuer}${path}`, {
      method: "POST",
      form,
      headers: { ...OWN, ...(basic && { authorization: basic }) },
    });
    return { status, body: text ? JSON.parse(text) : null };
  },

  "GET /clients": () => clients,
});

ready({ issuer, port, control: controlPort });
