// Peers, readers, the whitelist's age, sessions and CDRs: what the operator asks about.
import { byId, el, facts, fill, mark, say, show } from "./dom.js";
import { clock, count, energy, ms, since, span } from "./words.js";

const BREAKERS = { closed: "asked", open: "not asked, probed in the background" };
const READERS = { ready: "good", missing: "bad" };
const OFF = "without power";
const DELIVERIES = { due: "to be told", told: "told", rejected: "rejected by a peer" };
const CDRS = { due: "to be sent", acknowledged: "acknowledged", parked: "parked: needs the operator" };
const TONES = { told: "good", acknowledged: "good", rejected: "bad", parked: "bad", due: "wait", active: "live", interrupted: "wait" };

export function drawPeers(board) {
  show(byId("no-peers"), board.peers.length === 0);
  fill(byId("peers"), board.peers, (peer) => peer.name, makeRow, (row, peer) => {
    const [word, tone] = standing(peer);
    const isOff = peer.breaker === "off";
    head(row, peer.name, word, tone);
    facts(row.querySelector("dl"), [
      ["Breaker", isOff ? null : `${peer.breaker}: ${BREAKERS[peer.breaker] ?? "see its log"}`, peer.breaker === "closed" ? null : "bad"],
      ["Latency", isOff ? null : peer.latency_ms === null ? "no answer to a card yet" : ms(peer.latency_ms)],
      ["Tokens", count(peer.tokens ?? 0)],
      ["List synced", peer.synced_at ? `${span(since(peer.synced_at, board.at))} ago` : "never yet"],
    ]);
  });
}

function standing(peer) {
  if (peer.breaker === "off") return [OFF, "wait"];
  if (peer.rejects_credentials) return ["rejects our credentials", "bad"];
  return peer.up ? ["reachable", "good"] : ["not reachable", "bad"];
}

export function drawReaders(board) {
  fill(byId("readers"), board.readers, (reader) => reader.name, makeRow, (row, reader) => {
    head(row, `Reader ${reader.name}`, reader.state === "off" ? OFF : (reader.state ?? "not seen yet"), READERS[reader.state] ?? "wait");
    facts(row.querySelector("dl"), [
      ["Advice", reader.advice],
      ["Bad frames", count(reader.bad_frames ?? 0)],
    ]);
  });
}

export function drawList(board) {
  const { tokens, oldest_sync_s: age } = board.whitelist;
  const never = board.peers.filter((peer) => !peer.synced_at && peer.breaker !== "off").map((peer) => peer.name);
  const isNone = age === null || age === undefined;
  const synced = isNone ? "never synced completely" : `oldest list ${span(age)} old`;
  const missing = never.length && !isNone ? ` · never synced completely: ${never.join(", ")}` : "";
  say(byId("list-state"), `${count(tokens)} ${tokens === 1 ? "card" : "cards"} · ${synced}${missing}`);
}

export function drawSessions(board) {
  show(byId("no-sessions"), board.sessions.length === 0);
  say(byId("outbox"), board.peers.length || board.sessions.length ? outboxWords(board.outbox) : "");
  fill(byId("sessions"), board.sessions, (session) => session.id, makeSession, (row, session) => drawSession(row, session, board));
}

function outboxWords(outbox) {
  if (!outbox) return "";
  const { sessions, cdrs, parked } = outbox;
  if (!sessions && !cdrs && !parked) return "Everything is delivered.";
  const waiting = [many(sessions, "session report"), many(cdrs, "CDR")].filter(Boolean).join(" and ");
  return [waiting && `Waiting to be sent: ${waiting}.`, parked && `${parked} parked for the operator.`].filter(Boolean).join(" ");
}

const many = (number, what) => (number ? `${number} ${what}${number === 1 ? "" : "s"}` : "");

function makeRow() {
  return el(
    "li",
    { class: "row" },
    el("p", { class: "row-head" }, el("strong"), el("span", { class: "badge" })),
    el("dl", { class: "facts small" }),
  );
}

function head(row, name, word, tone) {
  say(row.querySelector("strong"), name);
  say(row.querySelector(".badge"), word);
  mark(row.querySelector(".badge"), "data-tone", tone);
}

function makeSession(session) {
  return el(
    "li",
    { class: "session" },
    el("p", { class: "row-head" }, el("strong", {}, `Session ${session.id}`), el("span", { class: "badge" })),
    el("dl", { class: "facts small" }),
  );
}

function drawSession(row, session, board) {
  head(row, `Session ${session.id}`, session.state, TONES[session.state]);
  const ended = session.ended_at ? ` – ${clock(session.ended_at, board.at)}` : session.state === "active" ? " – now" : "";
  const cdr = session.cdr;
  facts(row.querySelector("dl"), [
    ["At", session.evse],
    ["Time", clock(session.started_at, board.at) + ended],
    ["Energy", energy(session.energy_wh)],
    ["Cost", session.cost],
    ["Ended by", session.ended_because?.replaceAll("-", " ")],
    ["Report", DELIVERIES[session.delivery] ?? session.delivery ?? "nobody is told", TONES[session.delivery]],
    ["CDR", cdrWords(session), cdr && TONES[cdr.state]],
    ["Problem", [session.problem, cdr?.problem].filter(Boolean).join("; "), "bad"],
    ["Reference", session.reference ?? "none: no peer gave one"],
    ["Session id", session.session_id],
    ["CDR id", cdr?.id],
  ]);
}

function cdrWords({ cdr, no_cdr: none, ended_at: endedAt }) {
  if (!cdr) return none ? `none: ${none}` : endedAt ? "being written" : "when it ends";
  const credited = cdr.credited_by ? `, credited by ${cdr.credited_by}` : "";
  return (CDRS[cdr.state] ?? cdr.state) + credited;
}
