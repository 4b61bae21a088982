import { h, time } from "./dom.js";
import { get, put, session } from "./api.js";
import { card, field, form, tell } from "./parts.js";
import { head } from "./shell.js";

export default async function view() {
  const claims = session.claims;
  const shown = card("What others see of you", () => name(shown), { wide: "w6" });
  return [
    head("Profile and privacy", "On boards you are a pseudonym unless you choose a name."),
    h("div", { class: "grid" }, shown,
      card("Signed in", async () => h("dl", { class: "pairs" }, h("dt", {}, "Account"), h("dd", {}, h("code", {}, claims.sub ?? "–")), h("dt", {}, "Until"), h("dd", {}, claims.exp ? time(new Date(claims.exp * 1000).toISOString()) : "–"), h("dt", {}, "May"), h("dd", {}, claims.scope || "–")), { wide: "w6" }),
      card("What is kept about you", async () => h("div", {},
        h("p", {}, "Your account id, your codes, who brought you and, as hashes that cannot be turned back, what a sign-up looked like. Amounts are kept under a number that stands for you."),
        h("p", {}, "Those you brought see nothing of you, and you see totals of them: a part is shown once five people stand behind it."),
        h("p", {}, "You may ask support to erase you. Then everything that leads to you is removed everywhere; amounts stay in the books under a number that leads to nobody. Unpaid earnings are paid out or given up first.")))),
  ];
}

async function name(shown) {
  const found = await get("/api/creator/profile").catch((error) => {
    if (error.status === 404 || error.status === 405) return null;
    throw error;
  });
  const save = form(async (given) => {
    const saved = await put("/api/creator/profile", { display_name: given.name || null });
    tell(saved.display_name ? `You are shown as ${saved.display_name}.` : `You are shown as ${saved.pseudonym}.`);
    await shown.reload();
  }, { label: "Save" }, field("Name", { name: "name", minlength: 3, maxlength: 32, value: found?.display_name ?? "" }, "3 to 32 characters. Leave it empty to be shown as a pseudonym."));
  return h("div", { class: "stack" },
    found ? h("p", {}, "You are shown as ", h("b", {}, found.display_name || found.pseudonym), found.updated_at && [" since ", time(found.updated_at)], ".") : null, save);
}
