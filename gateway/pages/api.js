// The one way out of the page: the same REST interface that everybody may use.

const KEY = "creator-economy.token";
const SECONDS = 12;

/** What an answer that is no success says (RFC 9457). Status 0: nobody answered. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || "Something went wrong.");
    this.status = status;
    this.code = document.code ?? "";
    this.requestId = document.request_id ?? "";
    this.errors = document.errors ?? [];
  }
}

export const session = {
  get token() {
    return sessionStorage.getItem(KEY) ?? "";
  },
  /** What the token says of itself; it is the gateway that checks it. */
  get claims() {
    try {
      const part = this.token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
      return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0))));
    } catch {
      return {};
    }
  },
  get scopes() {
    return String(this.claims.scope ?? "").split(" ");
  },
  open(token) {
    sessionStorage.setItem(KEY, token.trim().replace(/^Bearer\s+/i, ""));
  },
  close() {
    sessionStorage.removeItem(KEY);
  },
};

/** An Idempotency-Key: one per intention, kept while it is tried again. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The answer as fetch has it; throws Problem. A list in the query is a parameter for each of it. */
export async function send(method, path, { query, body, key } = {}) {
  const wanted = Object.entries(query ?? {}).flatMap(([name, value]) => [value].flat().map((each) => [name, each]))
    .filter(([, value]) => value !== undefined && value !== null && value !== "");
  const url = path + (wanted.length ? `?${new URLSearchParams(wanted)}` : "");
  const headers = { Accept: "application/json" };
  if (session.token) headers.Authorization = `Bearer ${session.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let response;
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(SECONDS * 1000) });
  } catch {
    const detail = navigator.onLine ? "The server did not answer. Nothing is lost; try again." : "You are offline. What is shown may be old.";
    throw new Problem(0, { detail, code: "OFFLINE" });
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  if (response.status === 401) dispatchEvent(new CustomEvent("signed-out"));
  throw new Problem(response.status, { request_id: response.headers.get("X-Request-Id"), ...document });
}

const json = async (...wanted) => (await send(...wanted)).json();

export const get = (path, query) => json("GET", path, { query });
export const post = (path, body, options) => json("POST", path, { body, ...options });
export const put = (path, body, options) => json("PUT", path, { body, ...options });
export const remove = (path) => send("DELETE", path);
export const text = async (path, query) => (await send("GET", path, { query })).text();

/** Save what an address answers as a file: a link cannot carry the token. */
export async function download(path, query, name) {
  const blob = await (await send("GET", path, { query })).blob();
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
