// The frame around every page: navigation, who is signed in, the way in, and what is open now.

import { h } from "./dom.js";
import { post, session } from "./api.js";
import { failure, field, form } from "./parts.js";

const TEST = document.documentElement.dataset.mode === "test";
const HERE = new URL(".", import.meta.url).pathname;

/** Run a set of pages: {title, home, other, account, scope, pages: [[path, name, module]]}. */
export function run(site) {
  document.body.append(h("div", { id: "live", class: "sr", role: "status", "aria-live": "polite" }));
  const root = h("div");
  document.body.append(root);
  const start = (note) => (session.token ? frame(site, root) : gate(site, root, note));
  addEventListener("signed-out", () => {
    if (!session.token) return;
    session.close();
    start("Your sign-in has expired. Sign in again; nothing is lost.");
  });
  addEventListener("sign-in", () => start());
  start();
  began = true;
}

function gate(site, root, note = "") {
  document.title = `Sign in · ${site.title}`;
  const enter = (token) => {
    session.open(token);
    dispatchEvent(new CustomEvent("sign-in"));
  };
  const dev = form(
    async (given) => enter((await post("/dev/token", { account_id: given.account, scope: site.scope })).token),
    { label: "Sign in" },
    field("Account", { name: "account", required: true, maxlength: 128, value: site.account, autocomplete: "username" }, "Test mode: a token is made for any account."),
  );
  const paste = form(
    async (given) => enter(given.token),
    { label: "Use this token", main: !TEST },
    field("Token", { name: "token", required: true, type: "password" }, "The bearer token that your application gave you. It is kept in this tab alone."),
  );
  root.replaceChildren(
    h("main", { class: "gate stack", id: "main", tabindex: "-1" },
      h("div", { class: "brand" }, h("img", { src: `${HERE}mark.svg`, alt: "" }), "Creator economy"),
      note && h("p", { class: "notice warn", role: "alert" }, note),
      h("section", { class: "card stack" }, h("h1", {}, site.welcome), TEST && dev, TEST ? h("details", {}, h("summary", {}, "Use a token instead"), paste) : paste)),
  );
  root.querySelector("input").focus();
}

function frame(site, root) {
  const main = h("main", { id: "main", tabindex: "-1" });
  const offline = h("p", { class: "notice warn", role: "status", hidden: navigator.onLine }, "You are offline. What is shown may be old; nothing can be changed until you are back.");
  const links = site.pages.map(([path, name]) => h("li", {}, h("a", { href: `#/${path}` }, name)));
  const leave = h("button", { type: "button", class: "plain", onclick: () => { session.close(); dispatchEvent(new CustomEvent("sign-in")); } }, "Sign out");
  const who = h("div", { class: "who" }, h("div", {}, h("span", { class: "hint" }, "Signed in as"), h("b", { title: session.claims.sub }, session.claims.sub ?? "a token")), site.other, leave);
  root.replaceChildren(
    h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to content"),
    h("div", { class: "frame" },
      h("div", { class: "side" }, h("a", { class: "brand", href: "#/" }, h("img", { src: `${HERE}mark.svg`, alt: "" }), site.title), h("nav", { "aria-label": "Pages" }, h("ul", {}, links)), who),
      h("div", {}, main)),
  );
  const show = () => open(site, root, main, offline);
  addEventListener("hashchange", show, { signal: fresh() });
  addEventListener("offline", () => (offline.hidden = false), { signal: leaving.signal });
  addEventListener("online", () => { offline.hidden = true; show(); }, { signal: leaving.signal });
  show();
}

let leaving = new AbortController();
/** Listeners of the frame before are let go. */
function fresh() {
  leaving.abort();
  leaving = new AbortController();
  return leaving.signal;
}

let began = false;
let opened = 0;
async function open(site, root, main, offline) {
  const turn = ++opened;
  const moved = began;
  const [path, ...rest] = location.hash.replace(/^#\//, "").split("?")[0].split("/");
  const page = site.pages.find(([each]) => each === path);
  root.querySelectorAll("nav a").forEach((link) => {
    const here = link.getAttribute("href") === `#/${path}`;
    here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    if (here) link.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  if (!page) {
    main.replaceChildren(offline, h("h1", {}, "Nothing here"), h("p", {}, "This address leads to no page. ", h("a", { href: "#/" }, "Go home"), "."));
    main.dataset.shows = location.hash;
    return;
  }
  const [, name, module] = page;
  main.setAttribute("aria-busy", "true");
  document.title = `${name} · ${site.title}`;
  try {
    const { default: view } = await module();
    const content = await view(...rest.map(decodeURIComponent));
    if (turn !== opened) return;
    main.replaceChildren(offline, ...content);
  } catch (error) {
    if (turn !== opened) return;
    main.replaceChildren(offline, h("h1", {}, name), failure(error, () => open(site, root, main, offline)));
  }
  main.removeAttribute("aria-busy");
  main.dataset.shows = location.hash;
  // Who just came keeps the browser's own start; who moved on is taken to the new content.
  if (moved) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** What an address asks of its page, behind the page's name: `#/review?which=urgent`. */
export const wanted = (name) => new URLSearchParams(location.hash.split("?")[1] ?? "").get(name) ?? "";

/** A page's heading. */
export const head = (title, lead, aside) => h("div", { class: "head" }, h("div", {}, h("h1", {}, title), lead && h("p", {}, lead)), aside);
