// What would happen to a card, and why: asked of the charge point, which decides nothing for it.
import { byId, el } from "./dom.js";
import { ask, trouble } from "./link.js";
import { SOURCES, reasonWords } from "./words.js";

const WHEN = {
  allows: "If its owner allows it",
  refuses: "If its owner refuses it",
  unknown: "If nobody knows it",
  silent: "If nobody answers",
};

export function startLookup() {
  byId("lookup").addEventListener("submit", async (event) => {
    event.preventDefault();
    const uid = byId("lookup-uid").value.replace(/[\s:-]/g, "");
    if (!/^[0-9A-F]{4,36}$/i.test(uid)) {
      byId("lookup-answer").replaceChildren(el("p", { class: "trouble" }, "This is no uid of a card: 4 to 36 digits, hexadecimal or decimal."));
      return;
    }
    const answer = await ask(`/cards?q=${encodeURIComponent(uid)}`);
    byId("lookup-answer").replaceChildren(...(answer.status === 200 ? explained(answer.body) : [failed(answer)]));
  });
}

const failed = (answer) => el("p", { class: "trouble" }, trouble(answer));

function explained(card) {
  const nodes = [el("p", {}, el("strong", { class: "uid" }, card.uid), ` ${listedWords(card.listed)}`)];
  for (const row of card.listed) nodes.push(el("p", { class: "quiet" }, rowWords(row)));
  if (card.refused_at.length > 0 && !card.at_once) {
    nodes.push(el("p", {}, `A random uid, as phones send it: refused at ${card.refused_at.join(" and ")}. Elsewhere:`));
  }
  if (card.at_once) return [...nodes, outcome("At once, without asking", card.at_once)];
  const names = card.asked.map(({ peer }) => peer).join(" and ");
  const isSilent = card.asked.every(({ now }) => !now);
  nodes.push(el("p", {}, isSilent ? `Would ask ${names}, which cannot be reached now: see the last line.` : `Would ask ${names}. Then:`));
  return [...nodes, el("ul", { class: "outcomes" }, ...card.outcomes.map((one) => el("li", {}, outcome(WHEN[one.when] ?? one.when, one))))];
}

function listedWords(listed) {
  if (listed.length === 0) return "is on no list.";
  return listed.length === 1 ? "is on the whitelist:" : `is on ${listed.length} lists:`;
}

function rowWords({ owner, peer, whitelist, valid, withdrawn, fresh }) {
  const state = withdrawn ? "withdrawn by its owner" : valid ? "valid" : "not valid";
  return `${whitelist}, ${state}, of ${owner} through ${peer}; the list is ${fresh ? "fresh" : "stale"}`;
}

function outcome(when, { verdict, reason, source, why }) {
  return el(
    "div",
    { class: "outcome", "data-verdict": verdict },
    el("p", {}, `${when}: `, el("strong", { class: "verdict" }, verdict)),
    el("p", {}, why || reasonWords(reason)),
    el("p", { class: "quiet" }, `${reason} · ${SOURCES[source] ?? source}`),
  );
}
