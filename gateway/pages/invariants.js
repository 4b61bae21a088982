import { count, h, time, words } from "./dom.js";
import { card, empty, table } from "./parts.js";
import { head } from "./shell.js";
import { acting, admin, listed } from "./operating.js";

const TONES = { passed: "good", violated: "bad", failed: "bad" };

export default async function view(id) {
  let cards = [];
  const reload = () => Promise.all(cards.map((each) => each.reload()));
  cards = [card(id ? "Report" : "Latest report", () => report(id)), card("Audits", audits)];
  return [
    head("Invariants", "What must always be true of the books, worked out again from the journal."),
    h("div", { class: "stack" }, cards[0], card("Audit now", async () => acting("Start an audit", "audits", reload)), cards[1]),
  ];
}

async function report(wanted) {
  const id = wanted ?? (await admin("audits", { page_size: 20 })).audits.find((each) => each.ended_at)?.audit_id;
  if (!id) return empty("No audit has ended yet", "Start one below; it takes some seconds.");
  const { audit, results } = await admin(`audits/${encodeURIComponent(id)}`);
  const broken = results.filter((each) => !each.holds);
  return h("div", { class: "stack" },
    h("div", { class: "row" }, h("span", { class: `tag ${TONES[audit.state] ?? ""}` }, words(audit.state)), h("small", {}, count(audit.rows), " rows, ended ", time(audit.ended_at))),
    h("div", { class: "tiles" }, results.map((each) =>
      h("section", { class: "card", "aria-label": words(each.invariant) }, h("div", { class: "row apart" }, h("h3", {}, words(each.invariant)), h("span", { class: `tag ${each.holds ? "good" : "bad"}` }, each.holds ? "Holds" : `${count(each.violations)} broken`)), h("p", {}, h("small", {}, each.description))))),
    broken.length > 0 && (await violations(id)));
}

async function violations(id) {
  const found = await admin(`audits/${encodeURIComponent(id)}/violations`, { page_size: 50 });
  return table("Violations", [
    { title: "Invariant", cell: (each) => words(each.invariant) },
    { title: "Row", cell: (each) => h("code", {}, each.table, " ", each.row_key) },
    { title: "Should be", cell: (each) => each.expected, name: true },
    { title: "Is", cell: (each) => each.found, name: true },
  ], found.violations);
}

const audits = () =>
  listed("Audits", [
    { title: "Started", cell: (each) => h("a", { href: `#/invariants/${each.audit_id}` }, time(each.started_at)) },
    { title: "By", cell: (each) => each.operator_id, name: true },
    { title: "Why", cell: (each) => h("span", { title: each.reason }, each.reason), name: true },
    { title: "Rows", cell: (each) => count(each.rows), num: true },
    { title: "State", cell: (each) => h("span", { class: `tag ${TONES[each.state] ?? ""}` }, words(each.state)) },
  ], "audits", "audits", empty("No audit yet", "Start one above."), { query: { page_size: 12 } });
