// What a screen reader is told: cards' verdicts and a charge point's changes, once they have settled, and no figures.
import { byId } from "./dom.js";
import { reasonWords, signalWords } from "./words.js";

/** A tap passes through reading and asking in a blink: what is told is what it came to. */
const SETTLE_MS = 900;
const PASSING = new Set(["reading", "asking", "accepted", "refused"]);

let signals = null;
let known = new Set();
let waiting = new Map();
let timer = 0;

/** Take note of a state; returns the taps that are new in it. */
export function announce(board) {
  const taps = board.taps.filter((tap) => !known.has(tap.id)).reverse();
  known = new Set(board.taps.map((tap) => tap.id));
  const before = signals;
  signals = new Map(board.evses.map((evse) => [evse.uid, evse.signal]));
  if (before === null) return [];
  for (const tap of taps) {
    later(`tap ${tap.id}`, `Card ${tap.uid} at ${tap.evse ?? tap.reader}: ${tap.verdict}. ${tap.why || reasonWords(tap.reason)}`);
  }
  for (const [uid, signal] of signals) {
    if (before.get(uid) === signal || PASSING.has(signal)) continue;
    later(`evse ${uid}`, `${uid}: ${signal ? signalWords(signal) : "without power"}.`);
  }
  return taps;
}

function later(about, text) {
  waiting.delete(about);
  waiting.set(about, text);
  clearTimeout(timer);
  timer = setTimeout(() => {
    byId("said").textContent = [...waiting.values()].join(" ");
    waiting = new Map();
  }, SETTLE_MS);
}
