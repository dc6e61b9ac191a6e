// A real Chromium without a window, in a profile of its own, and beside it a control server by which a test does what
// a person does: opens an address, types, presses, reads. Each waits until the page is so far.
//
//   node browser.mjs '{"program": F, "folder": D}'
//
// It prints one line of JSON when the browser is there. The browser ends with it: closed when its standard input is,
// and of itself when this process is killed.

// First, since it moves the console out of the way.
import { config, control, endWithTheTest, ready } from "./wire.mjs";

import { chromium } from "playwright-core";

let context;
endWithTheTest(async () => context?.close());

context = await chromium.launchPersistentContext(`${config.folder}/profile`, {
  executablePath: config.program,
  // What the browser keeps beside its profile.
  env: { ...process.env, HOME: config.folder, TMPDIR: config.folder },
  // The provider's pages ask for a font from afar.
  args: ["--disable-gpu", "--disable-quic", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
});
context.setDefaultTimeout(60_000);
const [page] = context.pages();

/** What is done, and the page as it is then, should that fail. */
const tell = (act) => async (wanted) => {
  try {
    await act(wanted);
  } catch (error) {
    throw new Error(`${error.message}\n${page.url()}\n${await page.content()}`);
  }
};

const controlPort = await control({
  /** Opens {address}. */
  "POST /open": tell(({ address }) => page.goto(address)),
  /** Types {text} into the field called {field}. */
  "POST /type": tell(({ field, text }) => page.locator(`[name="${field}"]`).fill(text)),
  /** Presses the button {label}. */
  "POST /press": tell(({ label }) => page.getByRole("button", { name: label, exact: true }).click()),
  /** Reads until the page says {text}. */
  "POST /read": tell(({ text }) => page.getByText(text).first().waitFor()),
});

ready({ control: controlPort });
