import { day, h, words } from "./dom.js";
import { brief, exact, micro, money, precise, sum } from "./money.js";
import { card, empty, table } from "./parts.js";
import { head } from "./shell.js";
import { earnings, nextUnlock, REASONS } from "./earned.js";

export default async function view() {
  const found = earnings();
  found.catch(() => {});
  return [
    head("Unlock calendar", "Earnings unlock 14 days after they accrued, once the payment behind them is safe."),
    h("div", { class: "grid" }, card("By day", async () => calendar(await found), { wide: "w8" }), card("Without a date", async () => undated(await found), { wide: "w4" }), card("As a list", async () => list(await found))),
  ];
}

const dated = (found) => (found.parts ?? []).filter((part) => part.unlocks_at);

function calendar(found) {
  const parts = dated(found);
  if (!parts.length) return empty("Nothing is waiting for a date", "What your referrals spend shows up here with the day on which it is yours.");
  const byDay = Map.groupBy(parts, (part) => part.unlocks_at.slice(0, 10));
  const last = Date.parse([...byDay.keys()].sort().at(-1));
  const today = Date.parse((found.as_of ?? new Date().toISOString()).slice(0, 10));
  const monday = today - ((new Date(today).getUTCDay() + 6) % 7) * 86_400_000;
  const cells = [];
  for (let at = monday; cells.length < 42 && (at <= last || cells.length % 7); at += 86_400_000) {
    const key = new Date(at).toISOString().slice(0, 10);
    const amount = sum((byDay.get(key) ?? []).map((part) => part.amount_micro));
    const label = amount > 0n ? `${key}: ${exact(amount)} unlocks` : key;
    cells.push(h("div", { class: `day ${amount > 0n ? "full" : ""} ${at === today ? "now" : ""}`, title: label }, h("span", { "aria-hidden": "true" }, key.slice(8)), amount > 0n && h("b", { "aria-hidden": "true" }, brief(amount)), h("span", { class: "sr" }, label)));
  }
  const next = nextUnlock(found);
  return h("div", { class: "stack" }, h("p", {}, "Next: ", precise(next.amount), " on ", h("b", {}, day(next.at))),
    h("div", { class: "month" }, ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map((name) => h("span", { "aria-hidden": "true" }, name)), cells));
}

function undated(found) {
  const parts = (found.parts ?? []).filter((part) => !part.unlocks_at && micro(part.amount_micro) !== 0n);
  if (!parts.length) return empty("None", "All that waits has a date.");
  return h("div", { class: "stack" }, parts.map((part) => h("div", {}, h("b", {}, precise(part.amount_micro)), h("div", {}, h("small", {}, REASONS[part.reason] ?? words(part.reason))))));
}

function list(found) {
  const parts = dated(found);
  if (!parts.length) return empty("Nothing to list", "Each part of your earnings gets its line here once its date is known.");
  return table("Unlocks", [
    { title: "Unlocks", cell: (part) => day(part.unlocks_at) },
    { title: "Stands as", cell: (part) => words(part.bucket) },
    { title: "Amount", cell: (part) => money(part.amount_micro), num: true },
  ], parts);
}
