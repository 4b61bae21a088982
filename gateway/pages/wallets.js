import { day, h, short, time, words } from "./dom.js";
import { money, precise } from "./money.js";
import { download, get, post, remove } from "./api.js";
import { card, empty, failure, field, form, pages, table, tell } from "./parts.js";
import { head } from "./shell.js";
import { address, chain } from "./ethereum.js";
import { signing } from "./payouts.js";

const INCLUDED = {
  included: "Counted",
  wallet_below_minimum: "The wallet's score is below the minimum per wallet",
  account_below_minimum: "Your score is below the minimum per account",
  no_score: "The wallet is not in that list of scores",
  linked_too_late: "Linked after the list was frozen",
  no_wallet: "You had no wallet then",
};

/** Scores have up to thirty digits: no rounding, and a line may break after a separator. */
const score = (text, name = "score") => h("span", { class: name }, BigInt(text || 0).toLocaleString("en-US").replaceAll(",", ",\u200b"));

export default async function view(run) {
  if (run) return why(run);
  const wallets = card("Your wallets", () => list(wallets), { wide: "w8" });
  return [
    head("Score and wallets", "Link the wallets that hold your reputation: after each period a pool is shared by score."),
    h("div", { class: "grid" }, wallets, card("Link a wallet", async () => link(wallets), { wide: "w4" }), card("Rewards", rewards), card("Left out of a run?", async () => lookUp())),
  ];
}

async function list(section) {
  const found = await get("/api/wallets");
  if (!found.wallets.length) return empty("No wallet yet", "Link one: your browser's wallet signs a short text, which costs nothing.");
  const unlink = (wallet) => h("button", { type: "button", class: "danger", "aria-label": `Unlink ${wallet.wallet_address}`, onclick: async (event) => {
    const button = event.currentTarget;
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      button.textContent = "Really unlink?";
      return;
    }
    try {
      await remove(`/api/wallets/${wallet.wallet_address}`);
      tell("Unlinked; what it earned stays yours.");
      section.reload();
    } catch (error) {
      button.replaceWith(failure(error));
    }
  } }, "Unlink");
  return h("div", { class: "stack" }, table("Your wallets", [
    { title: "Address", cell: (wallet) => short(wallet.wallet_address, 8) },
    { title: "Score", cell: (wallet) => score(wallet.score), num: true },
    { title: "Counts", cell: (wallet) => (wallet.below_minimum ? h("span", { class: "tag warn" }, "Below the minimum") : h("span", { class: "tag good" }, "Yes")) },
    { title: "Linked", cell: (wallet) => day(wallet.linked_at) },
    { title: "", cell: (wallet) => (wallet.state === "unlinked" ? "Unlinked" : unlink(wallet)) },
  ], found.wallets), found.scores_as_of && h("small", {}, "Scores of ", day(found.scores_as_of)));
}

function link(wallets) {
  const holder = h("div");
  const challenge = async (wallet, chainId) => {
    const made = await post("/api/wallets/challenge", { wallet_address: wallet, chain_id: chainId });
    holder.replaceChildren(signing(made.text, wallet, async (signature) => {
      const linked = await post("/api/wallets", { wallet_address: wallet, chain_id: chainId, nonce: made.nonce, signature });
      tell(linked.already_linked ? "It was linked before." : "Linked");
      holder.replaceChildren();
      wallets.reload();
    }), h("small", {}, "Good for one try until ", time(made.expires_at)));
  };
  const own = globalThis.ethereum && form(async () => challenge(await address(), await chain()), { label: "Use my browser's wallet" });
  const other = form((given) => challenge(given.wallet.trim(), Number(given.chain)), { label: "Get the text to sign", main: !globalThis.ethereum },
    field("Address", { name: "wallet", required: true, pattern: "\\s*0x[0-9a-fA-F]{40}\\s*", spellcheck: "false" }, "0x and 40 hex digits."),
    field("Chain", { name: "chain", type: "number", min: 1, value: 1, required: true }, "1 is Ethereum. A wallet counts on all chains."));
  return h("div", { class: "stack" }, own, other, holder);
}

const rewards = () =>
  pages("Rewards", [
    { title: "Period", cell: (each) => h("a", { href: `#/wallets/${each.run_id}` }, each.period) },
    { title: "Your score", cell: (each) => score(each.score), num: true },
    { title: "Of all", cell: (each) => score(each.total_score), num: true },
    { title: "Pool", cell: (each) => money(each.pool_micro), num: true },
    { title: "You got", cell: (each) => money(each.reward_micro), num: true },
    { title: "When", cell: (each) => day(each.rewarded_at) },
  ], async (token) => {
    const found = await get("/api/score/rewards", { page_token: token });
    return { rows: found.rewards, next: found.next_page_token };
  }, empty("No rewards yet", "After each period the pool is shared among linked wallets; yours shows up here."));

/** Rewards tell of runs one was in; every other run is known by its published id. */
const lookUp = () => form(async (given) => { location.hash = `#/wallets/${given.run.trim()}`; }, { label: "Why?", inline: true, main: false },
  field("Run id", { name: "run", required: true, pattern: "\\s*[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\\s*", spellcheck: "false" }, "Every run is published with its root, its sum and this id."));

async function why(run) {
  const path = `/api/score/runs/${encodeURIComponent(run)}`;
  const save = h("button", { type: "button", onclick: async () => {
    try {
      await download(`${path}/proof`, {}, `proof-${run}.json`);
      tell("Saved");
    } catch (error) {
      save.after(failure(error));
    }
  } }, "Download the proof");
  return [
    head("Why this reward", "With the proof anybody can check offline that your part is in the published sum.", h("div", { class: "row" }, save, h("a", { class: "button", href: "#/wallets" }, "Back"))),
    card("In that run", async () => {
      const found = await get(path);
      return h("div", { class: "stack" },
        h("p", {}, h("span", { class: `tag ${found.outcome === "included" ? "good" : "warn"}` }, words(found.outcome)), " ", INCLUDED[found.outcome] ?? ""),
        found.reward && h("p", {}, "You got ", precise(found.reward.reward_micro), " of ", precise(found.reward.pool_micro), "."),
        table("Wallets", [
          { title: "Wallet", cell: (each) => short(each.wallet_address, 8) },
          { title: "Score", cell: (each) => score(each.score), num: true },
          { title: "Counted", cell: (each) => INCLUDED[each.outcome] ?? words(each.outcome) },
        ], found.wallets ?? []),
        h("small", {}, "Minimum per wallet ", score(found.wallet_minimum, ""), ", per account ", score(found.account_minimum, ""), "."));
    }),
  ];
}
