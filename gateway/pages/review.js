import { count, h, short, time, words } from "./dom.js";
import { micro, money } from "./money.js";
import { newKey } from "./api.js";
import { bones, card, empty, failure, field, form, table, tabs, tell } from "./parts.js";
import { head, wanted as asked } from "./shell.js";
import { act, admin } from "./operating.js";

const KEYS = [["j", "next"], ["k", "former"], ["c", "clear"], ["x", "confirm abuse"], ["n", "note"]];
const SIGNALS = { IP_CLUSTER: "Accounts behind the same address", FINGERPRINT: "Accounts on the same device", VELOCITY: "Sign-ups from the network in an hour", NO_PAID_ACTIVITY: "Nothing paid in the first week" };
const open = { list: [], at: 0 };

export default async function view() {
  let filter = asked("which");
  let sheet;
  const drawer = h("aside", { "aria-label": "Evidence", "aria-live": "polite" });
  const queue = card("Queue", async () => {
    const found = await admin("cases", { page_size: 100, urgency: filter === "urgent" ? "urgent" : undefined, overdue_only: filter === "overdue" ? true : undefined });
    open.list = found.cases;
    open.at = Math.min(open.at, Math.max(0, found.cases.length - 1));
    if (!found.cases.length) {
      drawer.replaceChildren();
      return empty("Nothing to review", "Cases come by themselves when a registration or an account looks wrong.");
    }
    sheet = list(found, pick);
    pick(open.at);
    return sheet;
  }, { aside: tabs("Which", [["", "All"], ["urgent", "Urgent"], ["overdue", "Overdue"]], filter, (chosen) => { filter = chosen; queue.reload(); }) });
  const pick = async (index) => {
    open.at = index;
    const rows = sheet.querySelectorAll("tr.pick");
    rows.forEach((row, each) => (each === index ? row.setAttribute("aria-current", "true") : row.removeAttribute("aria-current")));
    rows[index]?.scrollIntoView({ block: "nearest" });
    const wanted = open.list[index];
    // Nothing of the case before may be acted on while this one comes.
    drawer.replaceChildren(h("div", { class: "card" }, bones()));
    try {
      const content = await evidence(wanted.case_id, () => queue.reload());
      if (open.list[open.at] === wanted) drawer.replaceChildren(content);
    } catch (error) {
      drawer.replaceChildren(failure(error, () => pick(index)));
    }
  };
  const keys = (event) => {
    if (!queue.isConnected) return removeEventListener("keydown", keys);
    if (event.target.matches("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return;
    const step = { j: 1, k: -1 }[event.key];
    if (step && open.list[open.at + step]) pick(open.at + step);
    const wanted = { c: "[data-decision=clear]", x: "[data-decision=confirm]", n: "[name=text]" }[event.key];
    const found = wanted && drawer.querySelector(wanted);
    if (!found) return;
    event.preventDefault();
    if (found.dataset.decision) drawer.querySelector("[name=decision]").value = found.dataset.decision;
    (found.dataset.decision ? drawer.querySelector("[name=reason]") : found).focus();
  };
  addEventListener("keydown", keys);
  const help = h("p", {}, KEYS.map(([key, what]) => [h("kbd", {}, key), ` ${what}  `]));
  return [head("Review", "Time makes a case urgent; it never decides one.", help), h("div", { class: "split" }, queue, drawer)];
}

const list = (found, pick) =>
  h("div", { class: "stack" }, table("Cases", [
    { title: "Opened", cell: (each) => h("button", { class: "plain", type: "button", onclick: () => pick(found.cases.indexOf(each)) }, time(each.opened_at)) },
    { title: "About", cell: (each) => words(each.subject) },
    { title: "Risk", cell: (each) => count(each.risk_score), num: true },
    { title: "Bonus", cell: (each) => (micro(each.amount_micro) ? money(each.amount_micro) : "–"), num: true },
    { title: "Urgency", cell: (each) => h("span", { class: `tag ${each.urgency === "urgent" ? "bad" : ""}` }, words(each.urgency)) },
  ], found.cases, { row: (each, index) => ({ class: "pick", onclick: () => pick(index) }) }),
  h("small", {}, `${count(found.open_total)} open in all`));

async function evidence(id, done) {
  const found = await admin(`cases/${id}`);
  const one = found.case;
  const key = newKey();
  const decide = form(async (given) => {
    await act(`cases/${id}/decide`, { decision: given.decision, reason: given.reason }, key);
    tell(given.decision === "clear" ? "Cleared" : "Abuse confirmed");
    await done();
    document.querySelector("tr.pick[aria-current] button")?.focus();
  }, { label: "Decide" },
  h("label", {}, "Decision", h("select", { name: "decision" }, h("option", { value: "clear", "data-decision": "clear" }, "Nothing wrong: clear it"), h("option", { value: "confirm", "data-decision": "confirm" }, "Abuse: confirm it"))),
  field("Why", { name: "reason", required: true, maxlength: 1000 }, "Kept for ever."));
  const note = form(async (given) => {
    await act(`cases/${id}/notes`, { text: given.text });
    tell("Noted");
    await done();
  }, { label: "Add note", main: false }, field("Note", { name: "text", required: true, maxlength: 2000 }));
  return h("div", { class: "card stack" }, h("h2", {}, words(one.subject)),
    h("dl", { class: "pairs" }, h("dt", {}, "Risk"), h("dd", {}, `${count(one.risk_score)} of 10,000 (weights ${found.weights_version})`), h("dt", {}, "Referrer"), h("dd", {}, short(one.referrer_ref, 8)), one.referee_ref && [h("dt", {}, "Referee"), h("dd", {}, short(one.referee_ref, 8))], h("dt", {}, "Bonus"), h("dd", {}, money(one.amount_micro)), h("dt", {}, "Case"), h("dd", {}, short(id, 8))),
    found.parts.length > 0 && table("Parts of the score", [
      { title: "Signal", cell: (part) => SIGNALS[part.signal] ?? words(part.signal) },
      { title: "Seen", cell: (part) => count(part.observed), num: true },
      { title: "Points", cell: (part) => h("span", { class: "money" }, `${count(part.points)} of ${count(part.cap)}`), num: true },
    ], found.parts),
    found.related_refs.length > 0 && h("details", {}, h("summary", {}, `${found.related_refs.length} accounts share a signal`), found.related_refs.map((each) => h("div", {}, short(each, 8)))),
    found.notes.map((each) => h("blockquote", {}, each.text, h("div", {}, h("small", {}, each.operator_id, ", ", time(each.written_at))))),
    decide, note);
}
