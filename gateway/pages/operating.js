// What the operators' pages share: acts with a reason, and lists under /api/admin.

import { get, newKey, post, put } from "./api.js";
import { field, form, pages, tell } from "./parts.js";

export const admin = (path, query) => get(`/api/admin/${path}`, query);

/** An act; its key makes sure that trying again does it once. */
export const act = (path, body, key = newKey()) => post(`/api/admin/${path}`, body, { key });
export const change = (path, body, key = newKey()) => put(`/api/admin/${path}`, body, { key });

export const reason = (value = "") => field("Why", { name: "reason", required: true, maxlength: 1000, value }, "Kept for ever.");

/** A form that does one thing, with a reason. `body` makes the rest of what is sent from what was typed. */
export function acting(label, path, done, { fields = [], body = () => ({}), inline = true, ...options } = {}) {
  let key = newKey();
  return form(async (given, made) => {
    await act(typeof path === "function" ? path(given) : path, { reason: given.reason, ...body(given) }, key);
    key = newKey();
    made.reset();
    tell("Done");
    await done();
  }, { label, inline, ...options }, ...fields, reason());
}

/** A list under /api/admin, page by page. */
export const listed = (caption, columns, path, member, nothing, { query = {}, ...options } = {}) =>
  pages(caption, columns, async (token) => {
    const found = await admin(path, { ...query, page_token: token });
    return { rows: found[member], next: found.next_page_token };
  }, nothing, options);
