// The link to the charge point: the newest state, whether it is still true, and what is sent back.
//
// The server gives a state at least once a second. What is older than STALE_MS is not shown as live, whatever became of
// the connection: a server that stalls with its sockets open looks, from here, like a quiet one.

const STALE_MS = 4000;
/** A stream may end and go on in a new one, as when the agent starts again: so long nobody is alarmed. */
const BROKEN_MS = 1500;
/** What is known to be no silence. */
const REFUSED = new Set(["full", "busy"]);
const RETRY_MS = [200, 500, 1000, 2000, 4000];

const heard = new Set();
let source = null;
let attempt = 0;
let retry = 0;
let lastAt = null; // performance.now() of the newest state
let brokenAt = null; // and of the stream's end, if none has come since
let askedAt = 0; // and of the newest attempt

/** Where the link stands: `state` is one of waiting, live, lost, full, busy, fault, login. `login` and `token` are the
 * newest that were told, `board` is the newest state with anything in it. */
export const link = { state: "waiting", board: null, login: null, token: "" };

/** Be told of every state and of every change of the link. */
export function listen(hear) {
  heard.add(hear);
  return () => heard.delete(hear);
}

function tell(state) {
  link.state = state;
  for (const hear of heard) hear(link);
}

function take(board) {
  lastAt = performance.now();
  brokenAt = null;
  attempt = 0;
  meet(board);
  if (board.evses || !board.fault) link.board = board;
  tell(board.fault ? "fault" : "live");
}

function meet(body) {
  link.token = body?.token ?? link.token;
  link.login = body?.login ?? link.login;
}

function lose(state = "lost") {
  if (link.state !== state) tell(state);
}

/** Begin, or begin again: after a login, or when the link is lost. */
export function connect() {
  clearTimeout(retry);
  source?.close();
  askedAt = performance.now();
  const mine = new EventSource("/events");
  source = mine;
  mine.onmessage = (event) => {
    if (mine === source) take(JSON.parse(event.data));
  };
  mine.onerror = () => {
    if (mine === source) failed(mine);
  };
}

async function failed(mine) {
  mine.close();
  brokenAt ??= performance.now();
  const wait = RETRY_MS[Math.min(attempt++, RETRY_MS.length - 1)];
  clearTimeout(retry);
  retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
  const user = link.login?.user;
  const state = await why();
  if (mine !== source) return;
  if (state === "login") clearTimeout(retry);
  // A stream may begin anew at once: `lost` is told when it has not. Who is logged in may be another one already.
  const next = state === "lost" && !REFUSED.has(link.state) ? link.state : state;
  if (next !== link.state || user !== link.login?.user) tell(next);
}

/** An event stream does not say why it was refused; other requests do. */
async function why() {
  const { status, body } = await ask("/state");
  meet(body);
  if (status === 401 || (status === 200 && body?.login?.needed && !body.login.user)) return "login";
  if (status === 429) return "busy";
  return status === 200 && (await isFull()) ? "full" : "lost";
}

async function isFull() {
  const stop = new AbortController();
  try {
    const answer = await fetch("/events", { cache: "no-store", signal: stop.signal });
    return answer.status === 503;
  } catch {
    return false;
  } finally {
    stop.abort();
  }
}

setInterval(() => {
  if (link.state === "login" || source === null) return;
  const now = performance.now();
  if (brokenAt !== null && now - brokenAt > BROKEN_MS && !REFUSED.has(link.state)) lose();
  const since = link.state === "live" || link.state === "fault" ? lastAt : askedAt;
  if (now - since < STALE_MS || source.readyState === EventSource.CLOSED) return;
  // Nothing comes, and no error: whoever was at the other end may be gone without a word.
  lose();
  connect();
}, 250);

// A page that nobody looks at takes no part of the charge point's time, nor one of the six connections that a browser
// has for it; and what it held meanwhile is not shown as live before it is known to be.
document.addEventListener("visibilitychange", () => {
  if (link.state === "login") return;
  if (document.visibilityState === "visible") return connect();
  clearTimeout(retry);
  source?.close();
  source = null;
  brokenAt = null;
  tell("waiting");
});
addEventListener("online", () => link.state === "lost" && connect());

/** Ask, for at most `limitMs`: `{status, body}`; status 0 where nobody answered. */
export async function ask(path, options = {}, limitMs = 8000) {
  try {
    const answer = await fetch(path, { cache: "no-store", ...options, signal: AbortSignal.timeout(limitMs) });
    const text = await answer.text();
    return { status: answer.status, body: parsed(text) };
  } catch {
    return { status: 0, body: null };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Send something, with the token that only this page knows. */
export async function send(path, body, limitMs) {
  const { token, login } = link;
  const answer = await post(path, body, limitMs);
  if (answer.status !== 403) return answer;
  // An agent that has started again knows another token than the page.
  const fresh = (await ask("/state")).body;
  if (!fresh?.token || fresh.token === token) return answer;
  // What one user has clicked is not done in another's name.
  if (login?.user && login.user !== fresh.login?.user) return answer;
  link.token = fresh.token;
  return post(path, body, limitMs);
}

function post(path, body, limitMs) {
  const isForm = body instanceof URLSearchParams;
  const type = isForm ? "application/x-www-form-urlencoded" : "application/json";
  const headers = { "Content-Type": type, "X-Panel-Token": link.token };
  return ask(path, { method: "POST", headers, body: isForm ? body : JSON.stringify(body ?? {}) }, limitMs);
}

/** Why an answer is none, for a person. */
export function trouble(answer) {
  if (answer.status === 0) return "The charge point does not answer.";
  const said = answer.body?.error ?? `the charge point answered ${answer.status}`;
  return `${said[0].toUpperCase()}${said.slice(1)}.`;
}

/** Resolves with the first state for which `found` gives something; with null after `limitMs`. */
export function until(found, limitMs) {
  return new Promise((resolve) => {
    const look = () => {
      const what = link.state === "live" && found(link.board);
      if (what) end(what);
    };
    const end = (what) => {
      clearTimeout(timer);
      stop();
      resolve(what);
    };
    const stop = listen(look);
    const timer = setTimeout(() => end(null), limitMs);
    look();
  });
}
