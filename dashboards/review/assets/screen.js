// The screen of one task: takes what the server shows, gives back drafts and acts. Called again with new data, it
// replaces what has changed in place; only leaving the page takes it down.

const screens = new WeakMap();
const IDLE = 60_000;

export default function (component) {
  const { parentElement } = component;
  let screen = screens.get(parentElement);
  if (!screen) screens.set(parentElement, (screen = new Screen(parentElement)));
  const turn = ++screen.turn;
  screen.component = component;
  screen.update(component.data || {});
  return () => {
    // An older call may be cleaned up after a newer one has drawn.
    if (turn !== screen.turn) return;
    screen.close();
    screens.delete(parentElement);
  };
}

class Screen extends Deciding {
  constructor(parent) {
    super();
    this.parent = parent;
    this.turn = 0;
    this.shown = {};
    this.active = Date.now();
    this.view = VIEWS.includes(remembered("view")) ? remembered("view") : "side";
    this.drafts = new Drafts(
      (draft) => this.component.setStateValue("draft", draft),
      () => this.drawSaved(),
    );
    this.build();
    const stop = (this.stop = new AbortController());
    const on = (target, name, f, more = {}) => target.addEventListener(name, f, { signal: stop.signal, ...more });
    on(document, "keydown", (e) => this.key(e), { capture: true });
    // What is typed in our fields must not reach Streamlit's own keys, which see only the component.
    for (const name of ["keydown", "keyup", "keypress"]) on(this.root, name, (e) => isField(e.target) && e.stopPropagation());
    for (const name of ["keydown", "pointerdown", "pointermove", "wheel"]) on(document, name, () => (this.active = Date.now()), { passive: true });
    on(window, "resize", () => this.fit());
    on(window, "pagehide", () => this.drafts.flush());
    this.ticking = setInterval(() => this.tick(), 1000);
    Drafts.tidy();
  }

  close() {
    this.drafts.flush();
    this.stop.abort();
    clearInterval(this.ticking);
    this.root.remove();
    this.restorePage?.();
  }

  build() {
    const el = (this.el = {});
    const part = (name, tag, attributes, ...children) => (el[name] = make(tag, { class: name, ...attributes }, ...children));
    const button = (action, text, name = "") =>
      make("button", { class: name, "data-do": action, onclick: () => this.perform(action) }, text, " ");
    this.root = make(
      "div", { class: "screen", tabindex: "-1" },
      make(
        "header", { class: "top" },
        part("title", "h2", {}), part("position", "span", {}), make("span", { class: "space" }),
        part("saved", "span", { role: "status", "aria-live": "polite" }), part("lease", "span", {}),
        part("views", "div", { role: "group", "aria-label": "How the text is shown" }, ...VIEWS.map((v) =>
          make("button", { "data-view": v, onclick: () => this.setView(v) }, { side: "Both", exact: "Exact", rendered: "Rendered" }[v]))),
        button("guidelines", "Guidelines", "quiet"), button("help", "Keys", "quiet"),
      ),
      part("conflict", "div", { role: "alert", hidden: true }),
      part("warn", "div", { role: "alert" }), 
      make(
        "div", { class: "middle" },
        make(
          "div", { class: "reading" },
          part("problem", "section", { "aria-label": "Problem", tabindex: "0" }),
          part("jumps", "nav", { "aria-label": "Places in the text" }),
          part("body", "div", { tabindex: "0", role: "region", "aria-label": "The reply" }),
        ),
        make("div", { class: "beside" },
          part("side", "aside", { "aria-label": "Reference and evidence", tabindex: "0" }),
          part("guide", "aside", { "aria-label": "Guidelines", tabindex: "0", hidden: true })),
        part("message", "div", { role: "status", "aria-live": "polite" }),
      ),
      make(
        "footer", { class: "bar" },
        part("reasons", "div", { role: "group", "aria-label": "Reasons" }),
        make(
          "div", { class: "line" },
          part("actions", "div", { role: "group", "aria-label": "Decide" }),
          make("label", { class: "notes" }, make("span", {}, "Note ", keyCap("n")),
            (el.note = make("textarea", { rows: "1", spellcheck: "false", "aria-label": "Note", oninput: () => this.written() }))),
        ),
      ),
      part("help", "div", { hidden: true }),
    );
    el.editor = make("div", { class: "editor" },
      make("div", { class: "pen" },
        make("div", { class: "head" }, make("span", {}, "Your text"), (el.count = make("span", { class: "count", "aria-live": "off" }))),
        (el.text = make("textarea", { spellcheck: "false", autocomplete: "off", "aria-label": "The text, to edit", dir: "auto", oninput: () => this.typed() }))),
      (el.diff = make("div", { class: "against" },
        make("div", { class: "head" }, make("span", {}, "Changes"), (el.sizes = make("span", { class: "count" }))),
        (el.changes = make("div", { class: "changes", tabindex: "0", role: "region", "aria-label": "Changes", dir: "auto" })))));
    el.body.addEventListener("click", (e) => this.clicked(e));
    this.parent.append(this.root);
  }

  // The page's own margins give way, and the screen takes the rest of the window.
  fit() {
    const host = this.parent.host || this.parent;
    const block = host.closest('[data-testid="stMainBlockContainer"]');
    if (block && !this.restorePage) {
      const before = block.getAttribute("style");
      Object.assign(block.style, { paddingTop: "4rem", paddingBottom: "0.5rem", paddingLeft: "1.25rem", paddingRight: "1.25rem" });
      this.restorePage = () => (before === null ? block.removeAttribute("style") : block.setAttribute("style", before));
    }
    const top = host.getBoundingClientRect().top + (host.closest('[data-testid="stMain"]')?.scrollTop || 0);
    this.root.style.setProperty("--tall", `${Math.max(420, Math.round(window.innerHeight - top - 12))}px`);
  }

  update(shown) {
    const before = this.shown, fresh = shown.task !== before.task || !this.ready;
    this.shown = shown;
    this.ready = true;
    if (this.busy && (shown.answered === this.busy.nonce || fresh)) this.answered(before.task);
    if (fresh) this.open(shown);
    const replies = JSON.stringify([shown.reply, shown.a, shown.b]);
    if (fresh || replies !== this.replies) {
      this.replies = replies;
      this.base = shown.reply ? shown.reply.text : null;
      this.drawTask(fresh);
    }
    this.drawAround(fresh, fresh || shown.message !== before.message || shown.answered !== before.answered);
    if (fresh) this.begin();
    else this.compareDrafts(before.draft, shown.draft);
    if (typeof shown.saved === "number") this.drafts.confirm(shown.saved);
    this.fit();
  }

  open(shown) {
    this.asked = this.theirs = this.nonce = null;
    this.editing = this.closing = false;
    this.here = null;
    this.verdict = null;
    this.reasons = new Set();
    this.drafts.open(shown.task || "");
    this.el.conflict.hidden = true;
    this.el.problem.classList.remove("large");
    this.said("");
  }

  drawTask(fresh) {
    const { shown, el } = this;
    const folded = shown.fold ?? remembered("folded") === "yes";
    const pair = Boolean(shown.a && shown.b);
    this.root.classList.toggle("pair", pair);
    this.root.classList.toggle("idle", !shown.task);
    const scroll = fresh ? 0 : el.body.scrollTop;
    this.columns = [];
    if (pair) {
      const column = (name, reply) => {
        const rows = drawReply(reply, folded);
        const box = make("section", { class: "column", "aria-label": name, tabindex: "-1" }, make("div", { class: "head" }, name, ...notes(reply)), rows);
        this.columns.push({ box, reply, rows });
        return box;
      };
      this.page = make("div", { class: "two" }, column("Left", shown.a), column("Right", shown.b));
      this.choose(0);
    } else if (shown.reply) {
      const rows = drawReply(shown.reply, folded);
      this.page = make("div", { class: "one" }, ...notes(shown.reply, "div"), rows);
      this.columns.push({ box: el.body, reply: shown.reply, rows });
    } else this.page = make("div", { class: "nothing" }, make("p", {}, shown.task ? "" : shown.title || "Nothing is waiting for you."));
    if (!this.editing) el.body.replaceChildren(this.page);
    el.body.scrollTop = scroll;
    el.problem.replaceChildren(...drawProblem(shown.problem || []));
    el.side.replaceChildren(...(shown.task ? drawSide(shown) : []));
    if (!fresh) { this.plainBase = this.base === null ? null : normal(this.base); this.compare(true); }
    this.setView(this.view);
    this.drawJumps();
  }

  drawAround(fresh, spoken) {
    const { shown, el } = this;
    el.title.textContent = shown.task ? shown.title || "" : "";
    el.position.textContent = shown.position || "";
    el.warn.textContent = shown.warn || "";
    if (spoken && (shown.message || fresh)) this.said(shown.message || "");
    const conflict = shown.conflict || "";
    if (conflict && conflict !== this.conflict) {
      el.conflict.replaceChildren(
        make("p", {}, conflict), make("p", { class: "none" }, "Your text is in the editor."),
        make("div", { class: "choices" },
          make("button", { onclick: () => { el.conflict.hidden = true; this.setEditing(true); } }, "Go on with mine"),
          make("button", { class: "quiet", onclick: () => this.act("discard_draft") }, "Discard mine ", keyCap("Shift+X"))),
        shown.other ? details("Their text", shown.other) : "");
      el.conflict.hidden = false;
    } else if (!conflict && this.conflict) el.conflict.hidden = true;
    this.conflict = conflict;
    const guide = JSON.stringify([shown.guideline_html, shown.guideline_version]);
    if (guide !== this.guide) {
      this.guide = guide;
      el.guide.replaceChildren(
        make("header", {}, make("h3", {}, "Guidelines"), make("span", { class: "none" }, shown.guideline_version || "")),
        fromReading(make("div", { class: "re" }), shown.guideline_html || "<p>None for this queue.</p>"));
      el.guide.hidden = remembered("guidelines") !== "open";
    }
    if (shown.lease_until !== this.leaseUntil || fresh) {
      this.leaseUntil = shown.lease_until;
      this.leaseEnd = shown.lease_until ? Date.now() + 1000 * (shown.lease_left ?? shown.lease_until - Date.now() / 1000) : null;
    }
    const keys = {};
    for (const k of shown.keys || []) if (!k.when || k.when === "always" || k.when === this.kind()) {
      if (/^\d-\d$/.test(k.key)) for (let d = +k.key[0]; d <= +k.key[2]; d++) keys[d] = k.action;
      else keys[k.key.split("+").map((x) => (x.length === 1 ? x.toLowerCase() : x)).join("+")] = k.action;
    }
    this.keys = keys;
    this.drawActions();
    this.drawReasons();
    this.drawSaved();
    this.drawLease();
  }

  drawSaved() {
    const text = this.shown.task ? this.drafts.state() : "";
    if (this.el.saved.textContent !== text) this.el.saved.textContent = text;
    this.el.saved.classList.toggle("trouble", text.startsWith("Not"));
  }

  drawLease() {
    const { lease } = this.el;
    if (!this.leaseEnd || !this.shown.task) { lease.textContent = ""; return; }
    const left = Math.round((this.leaseEnd - Date.now()) / 1000);
    lease.textContent = left <= 0 ? "Hold has run out" : left < 60 ? `held ${left} s` : `held ${Math.ceil(left / 60)} min`;
    lease.classList.toggle("trouble", left < 120);
    lease.title = "How long this task is yours; renewed while you work";
  }

  key(event) {
    if (!this.root.isConnected || event.isComposing || document.querySelector('[data-testid="stDialog"]')) return;
    const target = event.composedPath()[0], ours = this.root.contains(target), field = isField(target);
    if (field && !ours) return;
    const name = nameOf(event);
    if (!name) return;
    const action = this.keys?.[name];
    if (field && !["Ctrl+Enter", "Escape"].includes(name)) return;
    if (!this.el.help.hidden && !["help", "leave"].includes(action)) return;
    // Enter on a button is a press of that button.
    if (name === "Enter" && (!this.verdict || target?.closest?.("button, summary, a"))) return;
    if (!action) return;
    // A key that is held down must not decide task after task.
    if (event.repeat && !["up", "down"].includes(action)) { event.preventDefault(); return; }
    event.preventDefault();
    event.stopPropagation();
    this.active = Date.now();
    this.perform(action, name);
  }

  perform(action, name) {
    const { el } = this;
    if (action !== "discard") this.discarding = 0;
    this.said("");
    switch (action) {
      case "send": return this.sendChosen();
      case "confirm": return this.verdict && this.sendChosen();
      case "approve": return this.act(this.edited() ? "edit" : "approve");
      case "left": case "right": case "tie": case "skip": case "undo": case "next": return this.act(action);
      case "reject": case "flag": return this.setVerdict(action);
      case "reason": return this.toggleReason((this.shown.reasons || []).findIndex((r) => r.key === name));
      case "edit": return this.can("edit") ? this.setEditing(!this.editing) : this.said("This task is not for editing.");
      case "diff": return el.editor.classList.toggle("plain");
      case "note": el.note.focus(); return;
      case "leave": return this.leave();
      case "discard": return this.discard();
      case "down": case "up": return this.step(action === "down" ? 1 : -1);
      case "fold": return this.here && this.foldRow(this.rowOf(this.here));
      case "fold_all": return this.foldAll();
      case "answer": return this.goAnswer();
      case "box": return this.go("box", 1);
      case "wait": case "wait_back": return this.go("wait", action === "wait" ? 1 : -1);
      case "mark": case "mark_back": return this.go("mark", action === "mark" ? 1 : -1);
      case "column": this.choose(1 - this.column); this.columns[this.column]?.box.focus({ preventScroll: true }); return;
      case "view": return this.setView(this.nextView());
      case "problem": return el.problem.classList.toggle("large") ? el.problem.focus() : this.focus();
      case "guidelines":
        el.guide.hidden = !el.guide.hidden;
        remember("guidelines", el.guide.hidden ? "closed" : "open");
        return el.guide.hidden ? this.focus() : el.guide.focus({ preventScroll: true });
      case "help": return this.showHelp(el.help.hidden);
    }
  }

  leave() {
    const { el } = this;
    if (!el.help.hidden) return this.showHelp(false);
    const at = this.root.getRootNode().activeElement;
    if (isField(at)) return this.focus();
    if (this.verdict) {
      this.verdict = null;
      this.reasons.clear();
      this.drawVerdict();
      return this.written();
    }
    if (!el.guide.hidden) return this.perform("guidelines");
    return this.focus();
  }

  focus() {
    const outside = document.activeElement;
    if (isField(outside)) return;
    const at = this.editing ? this.el.changes : this.columns?.length > 1 ? this.columns[this.column].box : this.el.body;
    at.focus({ preventScroll: true });
  }

  showHelp(open) {
    const { el } = this;
    el.help.hidden = !open;
    el.help.replaceChildren(...(open ? [drawHelp(this.shown.keys || [], this.kind(), () => this.showHelp(false))] : []));
    if (open) el.help.querySelector("button").focus();
    else this.focus();
  }

  tick() {
    const now = Date.now(), working = !document.hidden && now - this.active < IDLE;
    if (this.el.message.textContent && now - this.saidAt > 10_000) this.said("");
    this.drawLease();
    this.drawSaved();
    if (this.busy && performance.now() - this.busy.at > 8000) {
      // The same number again: a server that did hear the first one does not count it twice.
      this.nonce = this.busy.nonce;
      this.busy = null;
      this.said("No answer from the server yet. Your work is kept: try again.");
      this.drawActions();
    }
    const left = this.leaseEnd ? (this.leaseEnd - now) / 1000 : Infinity, length = this.shown.lease || 900;
    if (working && this.shown.task && left < length / 2 && !this.busy && now - (this.asked || 0) > 20_000) {
      this.asked = now;
      this.act("renew");
    }
  }
}

// The name of a key as the map writes it; on a keyboard without Latin letters the place of the key counts.
function nameOf(event) {
  let { key } = event;
  if (["Control", "Shift", "Alt", "Meta", "AltGraph"].includes(key) || event.altKey) return "";
  if (key.length === 1 && /[^\x20-\x7e]/.test(key) && /^Key[A-Z]$/.test(event.code)) key = event.code[3];
  const letter = /^[a-z]$/i.test(key);
  const shift = event.shiftKey && (letter || key.length > 1) ? "Shift+" : "";
  const ctrl = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return ctrl + shift + (letter ? key.toLowerCase() : key);
}
