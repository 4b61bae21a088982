import { count, h, time, words } from "./dom.js";
import { admin, act, reason } from "./operating.js";
import { newKey } from "./api.js";
import { card, choice, empty, field, form, table, tell } from "./parts.js";
import { head } from "./shell.js";

export default async function view() {
  const found = h("div", { class: "stack", "aria-live": "polite" });
  const look = form(async (given) => {
    const key = /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(given.account) ? "account_ref" : "account_id";
    const answer = await admin("accounts", { [key]: given.account });
    // Of whom was erased there is nothing left to decide.
    found.replaceChildren(show(answer), answer.account_id ? h("div", { class: "grid" }, standing(answer), erasure(answer)) : "");
  }, { label: "Look up", inline: true }, field("Account id or reference", { name: "account", required: true, maxlength: 128 }));
  return [head("Accounts", "One account: its codes, its standing, its erasure."), h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Look-up" }, look), found)];
}

const show = (one) => card("Account", async () => h("div", { class: "stack" },
  h("dl", { class: "pairs" }, h("dt", {}, "Id"), h("dd", {}, one.account_id ? h("code", {}, one.account_id) : "erased"), h("dt", {}, "Reference"), h("dd", {}, h("code", {}, one.account_ref)),
    h("dt", {}, "Standing"), h("dd", {}, h("span", { class: `tag ${one.standing === "good" ? "good" : "bad"}` }, words(one.standing))), h("dt", {}, "Attribution"), h("dd", {}, one.registered_at ? [one.referred ? "referred, " : "organic, ", time(one.registered_at)] : "not decided"),
    h("dt", {}, "Brought"), h("dd", {}, `${count(one.referrals)}, of them ${count(one.flagged)} flagged`), one.exempt_until && [h("dt", {}, "Exempt until"), h("dd", {}, time(one.exempt_until))]),
  one.codes.length ? table("Codes", [
    { title: "Code", cell: (each) => h("code", {}, each.code) },
    { title: "State", cell: (each) => words(each.state) },
    { title: "Uses", cell: (each) => count(each.uses), num: true },
    { title: "Made", cell: (each) => time(each.created_at) },
  ], one.codes) : empty("No codes", null)));

function standing(one) {
  return card("Standing", async () => form(async (given) => {
    await act("standing", { account_id: one.account_id, standing: given.standing, reason: given.reason });
    tell("Done");
  }, { label: "Set standing", inline: true }, choice("Standing", "standing", [["good", "Good"], ["warned", "Warned"], ["bonuses_on_hold", "Bonuses on hold"], ["suspended", "Suspended"]], one.standing), reason()), { wide: "w6" });
}

function erasure(one) {
  const key = newKey();
  const state = h("div");
  const show = (answer) => state.replaceChildren(h("p", {}, "Erasure ", h("code", {}, answer.erasure_id), " ", h("span", { class: "tag" }, words(answer.state))), table("Services", [
    { title: "Service", cell: (each) => each.service },
    { title: "Rows", cell: (each) => count(each.rows), num: true },
    { title: "Done", cell: (each) => time(each.erased_at) },
  ], answer.services), h("button", { type: "button", onclick: async () => show(await admin(`erasures/${answer.erasure_id}`)) }, "Look again"));
  return card("Erasure", async () => h("div", { class: "stack" },
    form(async (given) => {
      const answer = await act("erasures", { account_id: one.account_id, forfeit_consent: given.consent === "on", reason: given.reason }, key);
      show(answer);
      tell("Asked for");
    }, { label: "Erase this account", danger: true },
    field("Type the account's id again", { name: "again", required: true, pattern: one.account_id.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"), title: "the account's id" }, "There is no way back."),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "consent" }), "Its owner agrees that unpaid money is given up"), reason()), state), { wide: "w6" });
}
