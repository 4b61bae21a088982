// What every page is put together from: cards that load by themselves, tables, forms, notices.

import { h, words } from "./dom.js";
import { Problem } from "./api.js";

/** Says something aloud and for a moment on the screen. */
export function tell(message) {
  const live = document.getElementById("live");
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = message));
  document.querySelector(".toast")?.remove();
  const toast = h("div", { class: "toast", "aria-hidden": "true" }, message);
  document.body.append(toast);
  setTimeout(() => toast.remove(), 4000);
}

export const bones = () => h("div", { class: "bones", role: "status" }, h("span", { class: "sr" }, "Loading"), h("i"), h("i"), h("i"));

export const empty = (title, next) => h("div", { class: "empty" }, h("b", {}, title), next);

export const tag = (name, tone = "") => h("span", { class: `tag ${tone}` }, words(name));

/** What went wrong, in words, with the id under which it was written down. */
export function failure(error, again) {
  const problem = error instanceof Problem ? error : new Problem(0, { detail: "This part of the page failed." });
  if (!(error instanceof Problem)) console.error(error);
  const details = problem.errors.filter((each) => each.detail !== problem.message).map((each) => h("div", {}, h("code", {}, each.pointer), " ", each.detail));
  const known = problem.requestId && h("div", {}, h("small", {}, "Request id ", h("code", {}, problem.requestId)));
  const title = { 0: "No answer", 403: "Not yours to see", 404: "Not there", 429: "Too many requests", 501: "Not served yet", 503: "Away at the moment" }[problem.status] ?? "That did not work";
  return h("div", { class: "error", role: "alert" }, h("b", {}, title), h("div", {}, problem.message), details, known, again && h("button", { class: "plain", type: "button", onclick: again }, "Try again"));
}

/** A card whose content comes from `load`, which is asked again by `reload`; each stands alone, so that one that fails takes nothing with it. */
export function card(title, load, { wide = "", aside = null, foot = null } = {}) {
  const body = h("div", {}, bones());
  const heading = h("header", {}, h("h2", {}, title), aside);
  const section = h("section", { class: `card ${wide}`, "aria-label": title, tabindex: "-1" }, heading, body, foot);
  const put = (content) => {
    const held = body.contains(document.activeElement);
    body.replaceChildren(content);
    // What had the focus is gone: who works by keyboard goes on here, not at the top of the page.
    if (held) section.focus({ preventScroll: true });
  };
  section.reload = async () => {
    body.setAttribute("aria-busy", "true");
    try {
      await null; // the page that made the card comes first
      put(await load());
    } catch (error) {
      put(failure(error, section.reload));
    }
    body.removeAttribute("aria-busy");
  };
  section.ready = section.reload();
  return section;
}

/** A table; a column is {title, cell, num, name}. */
export function table(caption, columns, rows, { row = () => ({}) } = {}) {
  // Roles are written out, for on a phone a row is shown as a block and would be no row any more.
  const head = columns.map((column) => h("th", { scope: "col", role: "columnheader", class: column.num ? "num" : "" }, column.title || h("span", { class: "sr" }, "Acts")));
  const cell = (column, each) => h("td", { role: "cell", "data-title": column.title || null, class: [column.num && "num", column.name && "name"].filter(Boolean).join(" ") }, h("div", {}, column.cell(each)));
  const body = rows.map((each, index) => h("tr", { role: "row", ...row(each, index) }, columns.map((column) => cell(column, each))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table" }, h("caption", { class: "sr" }, caption), h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), h("tbody", { role: "rowgroup" }, body)));
}

/** A table that goes on page by page: `page(token)` answers {rows, next}. */
export async function pages(caption, columns, page, nothing, options) {
  const first = await page("");
  if (!first.rows.length) return nothing;
  const holder = h("div", { class: "stack" });
  const rows = [];
  const show = ({ rows: more, next }) => {
    rows.push(...more);
    const button = next ? h("button", { type: "button" }, "Show more") : null;
    button?.addEventListener("click", async () => {
      button.disabled = true;
      try {
        show(await page(next));
        (holder.querySelector(":scope > button") ?? holder.firstChild).focus();
      } catch (error) {
        button.replaceWith(failure(error));
      }
    });
    holder.replaceChildren(table(caption, columns, rows, options), ...(button ? [button] : []));
  };
  show(first);
  return holder;
}

/** Rows that are here already, as `pages` wants them: fifty at a time. */
export const slices = (rows, size = 50) => async (token) => {
  const start = Number(token || 0);
  return { rows: rows.slice(start, start + size), next: start + size < rows.length ? String(start + size) : "" };
};

/** A choice of a few; `choose` is called with the one taken. */
export function tabs(label, choices, chosen, choose) {
  const buttons = choices.map(([value, title]) =>
    h("button", {
      type: "button",
      "aria-pressed": String(value === chosen),
      onclick: (event) => {
        buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === event.currentTarget)));
        choose(value);
      },
    }, title),
  );
  return h("div", { class: "tabs", role: "group", "aria-label": label }, buttons);
}

/** A form that waits for its answer, shows what is wrong with it, and never sends twice at once. */
export function form(act, { label, main = true, danger = false, inline = false } = {}, ...fields) {
  const wrong = h("div");
  const button = h("button", { class: danger ? "danger" : main ? "main" : "" }, label);
  return h("form", {
    class: inline ? "inline" : "stack",
    onsubmit: async (event) => {
      event.preventDefault();
      const made = event.currentTarget;
      // Not `disabled`, which would take the focus away from whoever works by keyboard.
      if (made.getAttribute("aria-busy")) return;
      made.setAttribute("aria-busy", "true");
      button.setAttribute("aria-disabled", "true");
      wrong.replaceChildren();
      try {
        await act(Object.fromEntries(new FormData(made)), made);
      } catch (error) {
        wrong.replaceChildren(failure(error));
      }
      made.removeAttribute("aria-busy");
      button.removeAttribute("aria-disabled");
    },
  }, fields, inline ? button : h("div", {}, button), wrong);
}

/** A labelled input. */
export const field = (label, properties, hint) => h("label", {}, label, h("input", { autocomplete: "off", ...properties }), hint && h("small", {}, hint));

export const choice = (label, name, options, value) =>
  h("label", {}, label, h("select", { name }, options.map(([key, title]) => h("option", { value: key, selected: key === value }, title))));

/** Put text on the clipboard. */
export const copying = (text, label = "Copy") =>
  h("button", {
    type: "button",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        tell("Copied");
      } catch {
        tell("The browser does not allow copying; select the text instead.");
      }
    },
  }, label);
