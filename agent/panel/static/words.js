// What the page says: signals, reasons, numbers and times, in words.

/** By signal: what it means, and how the ring shows it (the lamp of a real charge point has the same rhythm). */
export const SIGNALS = {
  ready: ["Ready for a card", "steady green"],
  reading: ["Reading the card", "a white flash"],
  asking: ["Asking the card’s owner", "blinking white"],
  accepted: ["Card accepted", "green"],
  refused: ["Card refused", "hurried red"],
  "plug-in": ["Accepted: plug in the cable", "long green, short gaps"],
  charging: ["Charging", "long blue, breathing"],
  paused: ["The car has paused", "short blue, long gaps"],
  done: ["Finished", "three green flashes"],
  fault: ["Out of order", "red double flash"],
  off: ["", "dark"],
};

export const signalWords = (signal) => (SIGNALS[signal] ?? [signal])[0];
export const signalRhythm = (signal) => (SIGNALS[signal] ?? ["", ""])[1];

export const SOURCES = {
  whitelist: "decided from the whitelist",
  realtime: "decided by its owner, in real time",
  fallback: "no answer that could be used: the fallback",
  local: "decided by this charge point",
};

/** For what comes without a sentence of its own. */
const REASONS = {
  allowed: "Its owner allows it.",
  blocked: "Its owner has blocked the card.",
  expired: "The card has expired.",
  "no-credit": "No credit is left on the card.",
  "not-allowed": "Its owner does not allow it here.",
  "other-evse-only": "Its owner allows it at another charge point only.",
  unknown: "Nobody knows this card.",
  timeout: "Its owner did not answer in time.",
  unreachable: "Its owner could not be reached.",
  "server-error": "Its owner’s server has failed.",
  "ocpi-error": "Its owner’s server answered with an error.",
  "rate-limited": "Its owner’s server takes no more questions for now.",
  "request-rejected": "Its owner’s server finds our question wrong.",
  "credentials-rejected": "Its owner’s server rejects our credentials: the operator must act.",
  "malformed-answer": "Its owner’s answer made no sense.",
  "oversized-answer": "Its owner’s answer was too long.",
  "breaker-open": "Its owner has failed several times: not asked, so that nobody waits.",
  "no-peer": "There is nobody to ask about this card.",
  whitelisted: "The whitelist alone accepts it.",
  "invalid-in-whitelist": "The whitelist says that it is not valid.",
  "not-in-whitelist": "It is on no list, and unknown cards are not asked about.",
  "stopped-same-card": "The card that began the charge has ended it.",
  "stopped-group-card": "Another card of the same group has ended the charge.",
  "evse-in-use": "Another card is charging here.",
  "storage-fault": "The record could not be written, so nothing was switched on.",
  "decided-too-late": "The record was not on disk in time, so nothing was switched on.",
  "relay-fault": "The relay did not obey.",
  "out-of-order": "A device is missing without which nothing may begin.",
  "agent-fault": "The agent itself has failed at this card: its log says why.",
  "random-uid": "A phone shows another number each time: no list can know it.",
  "too-many-refused": "Too many cards were refused here: the reader waits a while.",
  interlocked: "The other socket is in use, and only one may be at a time.",
};

export const reasonWords = (reason) => REASONS[reason] ?? reason.replaceAll("-", " ");

const WEATHERS = {
  fine: ["Fine", "answers at once"],
  slow: ["Slow", "answers late"],
  silent: ["Silent", "takes the question, never answers"],
  down: ["Down", "nobody at home"],
  refusing: ["Refusing", "rejects our credentials"],
  nonsense: ["Nonsense", "answers what nobody can read"],
};
export const weatherWords = (weather) => WEATHERS[weather] ?? [weather, ""];

const number = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const NUMBERS = [number(0), number(1), number(2), number(3)];
export const count = (value) => NUMBERS[0].format(value);

export function energy(wh) {
  if (wh === null || wh === undefined) return "";
  return `${NUMBERS[wh < 100_000 ? 3 : 1].format(wh / 1000)} kWh`;
}

export function power(watts) {
  if (watts === null || watts === undefined) return "";
  return watts < 1000 ? `${NUMBERS[0].format(watts)} W` : `${NUMBERS[1].format(watts / 1000)} kW`;
}

/** Milliseconds as short as they can be read. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${NUMBERS[value < 10_000 ? 2 : 1].format(value / 1000)} s`;
  return `${NUMBERS[value < 10 ? 1 : 0].format(value)} ms`;
}

/** Seconds as a person says them: `4 min`, `3 h`. */
export function span(seconds) {
  if (seconds < 1) return "a moment";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Time of day, with the day where it is another than that of `now`. */
export function clock(iso, now) {
  if (!iso) return "";
  const at = new Date(iso);
  const day = now && new Date(now).toDateString() !== at.toDateString() ? `${DAY.format(at)}, ` : "";
  return day + TIME.format(at);
}

export const since = (iso, now) => Math.max(0, (new Date(now) - new Date(iso)) / 1000);

/** As the agent masks a uid for screens: enough to tell two cards apart, too little to copy one. */
export function masked(uid) {
  const shown = uid.toUpperCase();
  if (shown.length >= 14) return `${shown.slice(0, 4)}…${shown.slice(-2)}`;
  return shown.length > 4 ? `…${shown.slice(-2)}` : "…";
}
