import { h, time, words } from "./dom.js";
import { exact, micro, precise, share, sum } from "./money.js";
import { card, choice, empty, field } from "./parts.js";
import { head } from "./shell.js";
import { acting, admin } from "./operating.js";
import { amount } from "./treasury.js";

const NEXT = { draft: [["activate", "Activate"]], active: [["pause", "Pause"], ["complete", "Complete"]], paused: [["activate", "Activate"], ["complete", "Complete"]] };
const PARTS = [["granted", "--c2", "Granted"], ["reserved", "--c3", "Reserved"], ["available", "--c1", "Free"]];

export default async function view() {
  const all = card("Budgets", () => budgets(() => all.reload()));
  const made = card("New campaign", async () => acting("Make a draft", "campaigns", () => all.reload(), {
    fields: [field("Name", { name: "name", required: true, maxlength: 100 }), choice("Type", "type", [["referral", "Signup bonuses"], ["score_weighted", "Score rewards"]]), field("Cap per account ($)", { name: "cap", inputmode: "decimal", value: "0" }, "0 for none.")],
    body: (given) => ({ name: given.name, type: given.type, account_cap_micro: amount(given.cap) }),
  }));
  return [head("Campaigns", "Budget that is granted as credits."), h("div", { class: "stack" }, all, made)];
}

async function budgets(done) {
  const { campaigns } = await admin("campaigns", { page_size: 100 });
  if (!campaigns.length) return empty("No campaign yet", "Make the first one below, fund it, then activate it.");
  return h("div", { class: "stack" }, campaigns.map((each) => budget(each, done)));
}

function budget(one, done) {
  const whole = sum(PARTS.map(([name]) => one[`${name}_micro`]));
  const path = `campaigns/${one.campaign_id}`;
  return h("section", { class: "card", "aria-label": one.name },
    h("header", {}, h("h3", {}, one.name), h("div", { class: "row" }, h("small", {}, words(one.type)), h("span", { class: `tag ${{ active: "good", paused: "warn" }[one.state] ?? ""}` }, words(one.state)))),
    h("div", { class: "bar", "aria-hidden": "true" }, PARTS.filter(([name]) => micro(one[`${name}_micro`]) > 0n).map(([name, tone, title]) => h("i", { title: `${title} ${exact(one[`${name}_micro`])}`, style: { "--part": String(share(one[`${name}_micro`], whole) + 1), "--tone": `var(${tone})` } }))),
    h("dl", { class: "sums" }, PARTS.map(([name, tone, title]) => [h("dt", {}, h("span", { class: "dot", style: { "--tone": `var(${tone})` } }), title), h("dd", {}, precise(one[`${name}_micro`]))]), h("dt", { class: "total" }, "Budget in all"), h("dd", { class: "total" }, precise(whole))),
    h("p", {}, h("small", {}, "Cap per account ", micro(one.account_cap_micro) === 0n ? "none" : precise(one.account_cap_micro), ". Changed ", time(one.changed_at))),
    one.state !== "completed" && h("details", {}, h("summary", {}, "Act"), h("div", { class: "stack" },
      acting("Fund it", `${path}/fund`, done, { fields: [field("Amount in dollars", { name: "amount", required: true, inputmode: "decimal" })], body: (given) => ({ amount_micro: amount(given.amount) }) }),
      acting("Change its state", (given) => `${path}/${given.step}`, done, { fields: [choice("To", "step", NEXT[one.state] ?? [])] }))));
}
