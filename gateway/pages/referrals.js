import { count, h, words } from "./dom.js";
import { money } from "./money.js";
import { get, post } from "./api.js";
import { card, empty, field, form, table, tell } from "./parts.js";
import { head, wanted } from "./shell.js";

export default async function view() {
  return [
    head("Referrals", "Totals over everybody you brought. Nobody is named: whom you brought is their business."),
    h("div", { class: "grid" }, card("From sign-up to paying", funnel, { wide: "w7" }), card("Signup bonuses", bonuses, { wide: "w5" }), card("Came with somebody's code?", () => register())),
  ];
}

const stats = () => get("/api/creator/referrals");

async function funnel() {
  const found = await stats();
  if (!found.registered) return empty("Nobody yet", h("span", {}, "Hand out your code: it is on the ", h("a", { href: "#/" }, "home page"), "."));
  const steps = [
    ["registered", "Signed up with your code", "--c1"],
    ["qualified", "Did something that counts", "--c5"],
    ["paying", "Ever paid", "--c2"],
    ["active", "Paid within 30 days", "--c3"],
    ["window_ended", "Their 12 months are over", "--c7"],
  ];
  return h("div", { class: "funnel" }, steps.map(([name, title, tone]) =>
    h("div", {}, h("span", {}, title, h("b", { class: "num" }, count(found[name]))),
      h("div", { class: "meter", "aria-hidden": "true" }, h("i", { style: { "--part": `${Math.round((found[name] / found.registered) * 100)}%`, "--tone": `var(${tone})` } })))));
}

async function bonuses() {
  const { bonuses: rows } = await stats();
  if (!rows.length) return empty("No bonuses yet", "They come with the first qualifying actions of those you brought.");
  return table("Signup bonuses", [
    { title: "State", cell: (row) => words(row.state) },
    { title: "Count", cell: (row) => count(row.count), num: true },
    { title: "Amount", cell: (row) => money(row.amount_micro), num: true },
  ], rows);
}

/** A share link brings its code and channel along. */
const register = (code = wanted("code"), channel = wanted("channel")) => form(async (given, made) => {
  const bound = await post("/api/referrals/register", { code: given.code, ...(channel && { channel }) });
  made.reset();
  tell(bound.already_bound ? "You were bound to a code before; nothing has changed." : "Done: this code is bound to your account.");
}, { label: "Bind it to my account", main: false }, field("Code", { name: "code", required: true, maxlength: 64, value: code }, "Once and for ever. A new account can do this only shortly after it was made."));
