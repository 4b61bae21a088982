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
  ],
});
