import { h, short, time, words } from "./dom.js";
import { card, empty, field, form } from "./parts.js";
import { head } from "./shell.js";
import { listed } from "./operating.js";

export default async function view() {
  let query = {};
  const log = card("Acts", () => listed("Acts", [
    { title: "No.", cell: (each) => each.sequence, num: true },
    { title: "When", cell: (each) => time(each.acted_at) },
    { title: "Who", cell: (each) => h("span", { title: each.operator_id }, each.operator_id), name: true },
    { title: "What", cell: (each) => words(each.act) },
    { title: "To", cell: (each) => short(each.subject, 8) },
    { title: "Why", cell: (each) => h("span", { title: each.reason }, each.reason), name: true },
    { title: "Hash", cell: (each) => short(each.hash, 4) },
  ], "acts", "rows", empty("No acts", "What operators do is written down here, row chained to row."), { query }));
  const filter = form(async (given) => { query = { operator_id: given.operator, account_ref: given.account }; await log.reload(); }, { label: "Show", inline: true },
    field("By operator", { name: "operator", maxlength: 128 }), field("On account (reference)", { name: "account", maxlength: 36 }));
  return [head("Audit log", "Who did what, when and why. Each row holds the hash of the one before."), h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Filter" }, filter), log)];
}
