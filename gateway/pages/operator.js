import { h } from "./dom.js";
import { run } from "./shell.js";

// What the pages use; asked for in test mode alone.
const ACTING = ["accounts", "audits", "campaigns", "erasures", "payouts", "review", "rules", "treasury"];
const LOOKING = [...ACTING, "acts", "payments"];

run({
  title: "Operators",
  welcome: "For operators",
  account: "operator-1",
  scope: [...LOOKING.map((area) => `admin:${area}:read`), ...ACTING.map((area) => `admin:${area}:write`)].join(" "),
  other: h("a", { href: "/" }, "For creators"),
  pages: [
    ["", "To do", () => import("./todo.js")],
    ["review", "Review", () => import("./review.js")],
    ["payouts", "Payouts", () => import("./approvals.js")],
    ["treasury", "Treasury", () => import("./treasury.js")],
    ["rules", "Rules", () => import("./rules.js")],
    ["campaigns", "Campaigns", () => import("./campaigns.js")],
    ["reconciliation", "Reconciliation", () => import("./reconciliation.js")],
    ["invariants", "Invariants", () => import("./invariants.js")],
    ["acts", "Audit log", () => import("./acts.js")],
    ["accounts", "Accounts", () => import("./accounts.js")],
  ],
});
