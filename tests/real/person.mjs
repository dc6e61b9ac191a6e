// The person at a browser: opens the address that the program showed, types the code if there is one,
// confirms it, signs in and consents, or turns back at one of those pages. Every page is the provider's own.

import { call } from "./wire.mjs";

/** A cookie jar that knows names and paths, which is all the provider uses to tell interactions apart. */
class Jar {
  #cookies = new Map();

  keep(url, lines = []) {
    for (const line of lines) {
      const [pair, ...attributes] = line.split(/;\s*/);
      const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
      const attribute = (wanted) =>
        attributes.find((a) => a.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
      const path = attribute("path") ?? "/";
      const expires = attribute("expires");
      const gone = value === "" || (expires && Date.parse(expires) <= Date.now());
      if (gone) this.#cookies.delete(`${path} ${name}`);
      else this.#cookies.set(`${path} ${name}`, { path, pair });
    }
  }

  header(url) {
    const { pathname } = new URL(url);
    return [...this.#cookies.values()]
      .filter(({ path }) => pathname === path || pathname.startsWith(path.replace(/\/?$/, "/")))
      .map(({ pair }) => pair)
      .join("; ");
  }
}

/** Opens one page, following redirects as a browser does. */
async function open(jar, url, form) {
  for (let hops = 0; hops < 10; hops += 1) {
    const cookie = jar.header(url);
    const answer = await call(url, {
      method: form ? "POST" : "GET",
      form,
      headers: cookie ? { cookie } : {},
    });
    jar.keep(url, answer.headers["set-cookie"]);
    if (answer.status < 300 || answer.status > 399) return { url, ...answer };
    url = new URL(answer.headers.location, url).href;
    form = undefined;
  }
  throw new Error(`redirects without end at ${url}`);
}

const unescape = (text) =>
  text.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">").replaceAll("&amp;", "&");

/** The page's form: where it goes and what it holds. Undefined when there is none. */
function formOf(page) {
  const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/.exec(page.text);
  if (!form) return undefined;
  const attribute = (tag, name) => {
    const found = new RegExp(`\\b${name}="([^"]*)"`).exec(tag);
    return found ? unescape(found[1]) : undefined;
  };
  const fields = {};
  for (const [tag] of form[2].matchAll(/<input\b[^>]*>/g)) {
    const name = attribute(tag, "name");
    if (name) fields[name] = attribute(tag, "value") ?? "";
  }
  return { action: new URL(attribute(form[1], "action"), page.url).href, fields };
}

/**
 * Walks the pages. `turnBack` is the page at which the person refuses: "code", "login" or
 * "consent". Answers the pages that were seen, and the last one's words.
 */
export async function visit({ address, user_code: userCode, account = "ada", turnBack }) {
  const jar = new Jar();
  const seen = [];
  let page = await open(jar, address);
  for (let pages = 0; pages < 10; pages += 1) {
    const form = formOf(page);
    if (!form) break;
    const { fields } = form;
    if (fields.prompt) {
      seen.push(fields.prompt);
      if (turnBack === fields.prompt) {
        page = await open(jar, `${page.url}/abort`);
        continue;
      }
      if (fields.prompt === "login") Object.assign(fields, { login: account, password: "any" });
    } else if (fields.state) {
      // The answer to an authorization request, which the page posts by itself.
      seen.push("posted");
    } else if (fields.confirm) {
      seen.push("confirm");
      // The person compares: this page must show the code that the program showed.
      if (!page.text.includes(`<code>${userCode}</code>`)) {
        throw new Error(`the page to confirm does not show ${userCode}`);
      }
      if (turnBack === "code") Object.assign(fields, { abort: "yes" });
    } else {
      // The code's own page comes back, with a word of blame, when the code was wrong or the person turned back.
      if (seen.includes("code")) break;
      seen.push("code");
      fields.user_code = userCode;
    }
    page = await open(jar, form.action, fields);
  }
  const words = page.text.replace(/<(style|title)[\s\S]*?<\/\1>/g, " ").replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ").trim();
  return { seen, status: page.status, words };
}
