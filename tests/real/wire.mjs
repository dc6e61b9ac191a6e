// What both servers share: listening on loopback, a control server beside the real one, ending with
// the test that started them, and a small HTTP client that can trust a private CA.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

// Standard output is for the one line that says where we listen; packages chat on the console.
globalThis.console = new console.Console(process.stderr);

/** Marks the requests of the tests themselves, so that they are not counted as the program's. */
export const OWN = { "x-test-own": "1" };

/** The configuration: one JSON object, the first argument. */
export const config = JSON.parse(process.argv[2] ?? "{}");

/** The private CA to trust, if the test made one. */
export const ca = config.ca && readFileSync(config.ca);

/** A name for a secret that can be compared and printed; the secret itself cannot be had from it. */
export const fingerprint = (secret) =>
  createHash("sha256").update(secret).digest("hex").slice(0, 16);

export const random = () => randomBytes(16).toString("hex");

/**
 * Ends this process with the one that holds our standard input: a killed test leaves nothing behind. `last` is what
 * has to be done before.
 */
export function endWithTheTest(last = async () => {}) {
  let ending;
  for (const event of ["end", "close", "error"]) {
    process.stdin.on(event, () => {
      ending ??= last().finally(() => process.exit(0));
    });
  }
  process.stdin.resume();
}

/** A server on a free port of 127.0.0.1: https if the configuration has a certificate. */
export async function listen(handler, { tls = Boolean(config.cert) } = {}) {
  const server = tls
    ? https.createServer(
        { cert: readFileSync(config.cert), key: readFileSync(config.key) },
        handler,
      )
    : http.createServer(handler);
  await new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address();
  return { port, origin: `${tls ? "https" : "http"}://127.0.0.1:${port}` };
}

export async function body(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * The control server: `routes` maps "METHOD /path" to a function from the JSON body to the JSON
 * answer. Always http, always another port than the server under test.
 */
export async function control(routes) {
  const { port } = await listen(
    async (request, response) => {
      let status = 200;
      let answer;
      try {
        const route = routes[`${request.method} ${request.url}`];
        const text = await body(request);
        if (!route) throw new Error(`no such control: ${request.method} ${request.url}`);
        answer = (await route(text ? JSON.parse(text) : {})) ?? {};
      } catch (error) {
        status = 500;
        answer = { error: String(error?.stack ?? error) };
      }
      const text = JSON.stringify(answer);
      response.writeHead(status, {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(text),
        connection: "close",
      });
      response.end(text);
    },
    { tls: false },
  );
  return port;
}

/** One request, no redirect followed. `form` makes it a form. Answers status, headers and text. */
export function call(url, { method = "GET", headers = {}, form } = {}) {
  const sent = form && new URLSearchParams(form).toString();
  const options = {
    method,
    ca,
    headers: {
      ...headers,
      ...(sent !== undefined && {
        "content-type": "application/x-www-form-urlencoded",
        "content-length": Buffer.byteLength(sent),
      }),
    },
  };
  return new Promise((resolve, reject) => {
    const client = new URL(url).protocol === "https:" ? https : http;
    const request = client.request(url, options, (response) => {
      body(response).then(
        (text) =>
          resolve({ status: response.statusCode, headers: response.headers, text }),
        reject,
      );
    });
    request.on("error", reject);
    request.end(sent);
  });
}

/** The one line by which the test learns that everything listens, and where. */
export function ready(where) {
  process.stdout.write(`${JSON.stringify(where)}\n`);
}
