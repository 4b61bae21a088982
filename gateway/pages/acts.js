import { count, h, short, time, words } from "./dom.js";
import { percent, precise } from "./money.js";
import { card, empty, field, form, tabs } from "./parts.js";
import { head } from "./shell.js";
import { listed } from "./operating.js";

const named = (name) => ({ cell: (each) => h("span", { title: each[name] }, each[name] || "–"), name: true });
const WHEN = { title: "When", cell: (each) => time(each.acted_at ?? each.decided_at ?? each.requested_at ?? each.proposed_at) };
const rates = ({ rates: now }) => (now ? `${percent(now.referrer_bps)} · ${percent(now.commons_bps)} · ${percent(now.community_bps)} · ${percent(now.foundation_bps)}` : "–");

/** Each kind of act is kept by the service that carries it out: [title, path, member, columns]. */
const LOGS = {
  acts: ["Accounts", "acts", "rows", [
    { title: "No.", cell: (each) => count(each.sequence), num: true }, WHEN, { title: "Who", ...named("operator_id") }, { title: "What", cell: (each) => words(each.act) },
    { title: "To", cell: (each) => short(each.subject, 8) }, { title: "Why", ...named("reason") }, { title: "Hash", cell: (each) => short(each.hash, 4) },
  ]],
  rules: ["Rules", "rule-audit", "rows", [
    { title: "No.", cell: (each) => count(each.sequence), num: true }, WHEN, { title: "Who", ...named("operator_id") },
    { title: "What", cell: (each) => `Version ${each.rule_version}: ${words(each.to_state)}` }, { title: "Referrer · commons · community · foundation", cell: rates }, { title: "Why", ...named("reason") },
  ]],
  reserve: ["Reserve", "reserve-changes", "reserve_changes", [
    WHEN, { title: "Asked by", ...named("requested_by") }, { title: "What", cell: (each) => words(each.direction) }, { title: "Amount", cell: (each) => precise(each.amount_micro), num: true },
    { title: "Why", ...named("reason") }, { title: "State", cell: (each) => words(each.state) }, { title: "Decided by", ...named("decided_by") }, { title: "Because", ...named("decision_reason") },
  ]],
  proposals: ["Payouts", "proposals", "proposals", [
    WHEN, { title: "Proposed by", ...named("proposed_by") }, { title: "What", cell: (each) => words(each.kind) }, { title: "Payout", cell: (each) => h("a", { href: `#/payouts/${each.payout_id}` }, short(each.payout_id, 6)) },
    { title: "Why", ...named("reason") }, { title: "State", cell: (each) => words(each.state) },
  ]],
};

export default async function view() {
  let query = {};
  let chosen = "acts";
  const log = card("Acts", () => {
    const [title, path, member, columns] = LOGS[chosen];
    return listed(`${title}: acts`, columns, path, member, empty("No acts", "What operators do is written down here."), { query: chosen === "acts" ? query : {} });
  });
  const filter = form(async (given) => { query = { operator_id: given.operator, account_ref: given.account }; await log.reload(); }, { label: "Show", inline: true },
    field("By operator", { name: "operator", maxlength: 128 }), field("On account (reference)", { name: "account", maxlength: 36 }));
  const filters = h("section", { class: "card", "aria-label": "Filter" }, filter);
  const pick = tabs("Kind of act", Object.entries(LOGS).map(([name, [title]]) => [name, title]), chosen, (name) => { chosen = name; filters.hidden = name !== "acts"; log.reload(); });
  return [head("Audit log", "Who did what, when and why. Acts on accounts are chained: each row holds the hash of the one before.", pick), h("div", { class: "stack" }, filters, log)];
}
