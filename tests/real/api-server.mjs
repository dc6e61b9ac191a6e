// A Kubernetes API server's face, as much of it as `kubectl get pods` asks for, over TLS. It lets in
// whoever shows a token of its OpenID provider: an ID token that verifies against the provider's own
// keys, or, if told to introspect, an access token that the provider says is active.
//
//   node api-server.mjs '{"cert": F, "key": F, "ca": F, "issuer": URL, "audience": ID, "introspect": {"client": ID, "secret": S}}'
//
// It prints one line of JSON when it listens and ends when its standard input closes.

import { createRemoteJWKSet, customFetch, jwtVerify } from "jose";

import { call, config, control, endWithTheTest, fingerprint, listen, OWN, ready } from "./wire.mjs";

endWithTheTest();

const own = { headers: OWN };
const discovery = JSON.parse((await call(`${config.issuer}/.well-known/openid-configuration`, own)).text);

// jose asks by the global fetch, which knows no private CA.
const keys = createRemoteJWKSet(new URL(discovery.jwks_uri), {
  [customFetch]: async (url) => {
    const { status, text } = await call(url, own);
    return new Response(text, { status, headers: { "content-type": "application/json" } });
  },
});

/** Tokens that were revoked at this server, by fingerprint. */
const revoked = new Set();

/** Who shows this token? Throws when nobody that this server knows. */
async function authenticate(token) {
  if (revoked.has(fingerprint(token))) throw new Error("the token was revoked");
  if (config.introspect && token.split(".").length !== 3) {
    const { client, secret } = config.introspect;
    const basic = Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(secret)}`);
    const { text } = await call(discovery.introspection_endpoint, {
      method: "POST",
      headers: { ...OWN, authorization: `Basic ${basic.toString("base64")}` },
      form: { token },
    });
    const found = JSON.parse(text);
    if (!found.active) throw new Error("the access token is not active");
    return { name: found.sub, groups: [], expires: found.exp };
  }
  const { payload } = await jwtVerify(token, keys, {
    issuer: config.issuer,
    audience: config.audience,
    requiredClaims: ["exp", "iat", "sub"],
  });
  return {
    name: payload.preferred_username ?? payload.sub,
    groups: payload.groups ?? [],
    expires: payload.exp,
  };
}

// ---- what kubectl asks ---------------------------------------------------------------------------------

const created = "2024-01-01T00:00:00Z";

const pods = ["web-0", "web-1"].map((name) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "default", uid: `uid-${name}`, creationTimestamp: created },
  spec: { containers: [{ name: "web", image: "web" }] },
  status: { phase: "Running" },
}));

const podTable = () => ({
  apiVersion: "meta.k8s.io/v1",
  kind: "Table",
  metadata: { resourceVersion: "1" },
  columnDefinitions: ["Name", "Status"].map((name) => ({
    name,
    type: "string",
    format: name === "Name" ? "name" : "",
    description: "",
    priority: 0,
  })),
  rows: pods.map((pod) => ({
    cells: [pod.metadata.name, pod.status.phase],
    object: { apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadata", metadata: pod.metadata },
  })),
});

const answers = {
  "/version": () => ({ major: "1", minor: "33", gitVersion: "v1.33.0", platform: "linux/amd64" }),
  "/api": () => ({ kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] }),
  "/apis": () => ({ kind: "APIGroupList", apiVersion: "v1", groups: [] }),
  "/api/v1": () => ({
    kind: "APIResourceList",
    groupVersion: "v1",
    resources: [
      { name: "pods", singularName: "pod", namespaced: true, kind: "Pod", shortNames: ["po"], verbs: ["get", "list"] },
    ],
  }),
  "/api/v1/namespaces/default/pods": (accept) =>
    accept.includes("as=Table")
      ? podTable()
      : { apiVersion: "v1", kind: "PodList", metadata: { resourceVersion: "1" }, items: pods },
};

const failure = (code, reason, message) => ({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Failure",
  code,
  reason,
  message,
});

const requests = [];

const { port, origin } = await listen(async (request, response) => {
  // The real one takes `/version/` too.
  const pathname = new URL(request.url, "https://localhost").pathname.replace(/(?<=.)\/$/, "");
  const seen = { path: pathname };
  requests.push(seen);
  let status = 200;
  let body;
  try {
    const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? "") ?? [];
    if (!token) throw new Error("no bearer token");
    seen.token = fingerprint(token);
    const person = await authenticate(token);
    Object.assign(seen, person);
    body = answers[pathname]?.(request.headers.accept ?? "");
    if (!body) {
      status = 404;
      body = failure(404, "NotFound", "the server could not find the requested resource");
    }
  } catch (error) {
    status = 401;
    seen.why = String(error.message);
    body = failure(401, "Unauthorized", "Unauthorized");
  }
  seen.status = status;
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
});

const controlPort = await control({
  /** Every request in order: path, status, the token's fingerprint, whose it was or why it was turned away. */
  "GET /requests": () => requests,
  /** This server no longer takes {token: its fingerprint}. */
  "POST /revoke": ({ token }) => {
    revoked.add(token);
  },
});

ready({ server: origin, port, control: controlPort });
