// What a person has written and not yet sent: kept in this browser at each key, on the server within a second.

const KEPT = "dataengine:draft:";
const QUIET = 400, LONGEST = 800, KEEP_DAYS = 14;

class Drafts {
  constructor(send, changed) {
    this.send = send; // gives a draft to the server
    this.changed = changed; // is called when the state to show has changed
    this.n = 0;
    this.saved = 0;
    this.timer = this.first = null;
    this.sentAt = 0;
    this.window = crypto.randomUUID?.() || randomId();
  }

  open(task) {
    this.stop();
    this.task = task;
    this.n = this.saved = this.seen = 0;
    this.last = null;
    this.paused = false;
  }

  // The copy in this browser that no server has confirmed, if any.
  local() {
    try {
      const found = JSON.parse(localStorage.getItem(KEPT + this.task) || "null");
      return found && typeof found === "object" && typeof found.n === "number" ? found : null;
    } catch { return null; }
  }

  write(draft) {
    this.n = Math.max(Date.now(), this.n + 1);
    this.last = { task: this.task, n: this.n, window: this.window, ...draft };
    this.keep();
    const now = performance.now();
    this.first ??= now;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), Math.max(0, Math.min(QUIET, this.first + LONGEST - now)));
    this.changed();
  }

  keep() {
    try {
      localStorage.setItem(KEPT + this.task, JSON.stringify(this.last));
      this.kept = true;
    } catch { this.kept = false; }
  }

  flush() {
    clearTimeout(this.timer);
    this.timer = this.first = null;
    if (!this.last || this.paused || this.last.n <= this.saved) return;
    this.sentAt = performance.now();
    // What this window knew of the server's draft: another window's later one is not to be overwritten unseen.
    this.send({ ...this.last, seen: this.seen });
    this.changed();
  }

  // The server has answered that it holds draft number n of this task.
  confirm(n) {
    if (typeof n !== "number" || n <= this.saved) return;
    this.saved = n;
    this.seen = Math.max(this.seen, n);
    const local = this.local();
    if (local && local.n <= n) this.forget();
    this.changed();
  }

  forget(task = this.task) {
    try { localStorage.removeItem(KEPT + task); } catch { /* nothing was kept */ }
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = this.first = null;
  }

  state() {
    if (!this.n) return "";
    if (this.saved >= this.n) return "Draft saved";
    if (this.paused) return "Not saved: choose which text";
    const waiting = this.sentAt && performance.now() - this.sentAt > 4000 && this.timer === null;
    if (!waiting) return "Saving…";
    return this.kept ? "Not on the server yet; kept in this browser" : "Not saved yet";
  }

  static tidy() {
    try {
      const before = Date.now() - KEEP_DAYS * 86_400_000;
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(KEPT)) continue;
        const found = JSON.parse(localStorage.getItem(key) || "null");
        if (!found || !(found.n > before)) localStorage.removeItem(key);
      }
    } catch { /* a browser without storage */ }
  }
}

function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}
