import { count, h, short, time, words } from "./dom.js";
import { precise } from "./money.js";
import { card, empty } from "./parts.js";
import { head } from "./shell.js";
import { acting, listed } from "./operating.js";

const TONES = { matched: "good", differs: "bad", failed: "bad" };

export default async function view() {
  let cards = [];
  const reload = () => Promise.all(cards.map((each) => each.reload()));
  cards = [card("Open differences", () => differences(reload)), card("Runs", runs)];
  return [
    head("Reconciliation", "The provider's rows beside ours and the ledger's. What is on its way may be in one column only, and is no difference."),
    h("div", { class: "stack" }, cards[0], card("Compare now", async () => acting("Compare", "reconciliations", reload)), cards[1]),
  ];
}

const differences = (done) =>
  listed("Differences", [
    { title: "Seen", cell: (each) => time(each.seen_at) },
    { title: "What", cell: (each) => words(each.kind) },
    { title: "Payout", cell: (each) => (each.payout_id ? h("a", { href: `#/payouts/${each.payout_id}` }, short(each.payout_id, 6)) : short(each.provider_payout_id, 6)) },
    { title: "They say", cell: (each) => h("span", { title: each.theirs }, each.theirs || "–"), name: true },
    { title: "We say", cell: (each) => h("span", { title: each.ours }, each.ours || "–"), name: true },
    { title: "", cell: (each) => h("details", {}, h("summary", {}, "Close"), each.explanation && h("p", {}, each.explanation), acting("Close it", `differences/${each.difference_id}/close`, done)) },
  ], "differences", "differences", empty("No differences", "Both accounts of every payout agree."));

const runs = () =>
  listed("Runs", [
    { title: "Started", cell: (each) => time(each.started_at) },
    { title: "State", cell: (each) => h("span", { class: `tag ${TONES[each.state] ?? ""}` }, words(each.state)) },
    { title: "Payouts", cell: (each) => count(each.payouts), num: true },
    { title: "Sent, by them", cell: (each) => precise(each.provider_sent_micro), num: true },
    { title: "Sent, by us", cell: (each) => precise(each.ledger_sent_micro), num: true },
    { title: "Differences", cell: (each) => count(each.differences), num: true },
  ], "reconciliations", "reconciliations", empty("No run yet", "One starts by itself each hour, or above."), { query: { page_size: 12 } });
