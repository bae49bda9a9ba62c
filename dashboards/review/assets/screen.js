// The screen of one task: takes what the server shows, gives back drafts and acts. Called again with new data, it
// replaces what has changed in place; only leaving the page takes it down.

const screens = new WeakMap();
const VIEWS = ["side", "exact", "rendered"];
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

const remembered = (name, otherwise) => {
  try { return localStorage.getItem("dataengine:" + name) ?? otherwise; } catch { return otherwise; }
};
const remember = (name, value) => {
  try { localStorage.setItem("dataengine:" + name, value); } catch { /* a browser without storage */ }
};
const isField = (node) =>
  node instanceof HTMLElement &&
  (node.isContentEditable || node.matches("textarea, select, input:not([type=checkbox]):not([type=radio]):not([type=button])"));

class Screen {
  constructor(parent) {
    this.parent = parent;
    this.turn = 0;
    this.shown = {};
    this.seconds = 0;
    this.active = this.beat = Date.now();
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

  // ---- what is there once -------------------------------------------------------------------------------------

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
          part("problem", "section", { "aria-label": "Problem", tabindex: "-1" }),
          part("jumps", "nav", { "aria-label": "Places in the text" }),
          part("body", "div", { tabindex: "0", role: "region", "aria-label": "The reply" }),
        ),
        make("div", { class: "beside" },
          part("side", "aside", { "aria-label": "Reference and evidence" }),
          part("guide", "aside", { "aria-label": "Guidelines", tabindex: "-1", hidden: true })),
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

  // ---- what the server shows ----------------------------------------------------------------------------------

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
    this.drawAround(fresh);
    if (fresh) this.begin();
    else this.compareDrafts(before.draft, shown.draft);
    if (typeof shown.saved === "number") this.drafts.confirm(shown.saved);
    this.fit();
  }

  open(shown) {
    this.seconds = 0;
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

  // The draft that counts: the later one of the server's and this browser's copy that no server has confirmed.
  begin() {
    const { shown } = this, server = shown.draft || null, local = shown.task ? this.drafts.local() : null;
    const at = server ? server.n || timeOf(server.at) : 0;
    this.drafts.seen = Math.max(shown.saved || 0, server?.n || 0);
    if (local && (!server || local.n >= at || this.same(local, server))) {
      this.take(local);
      if (!this.same(local, server)) {
        this.drafts.write(this.draft());
        this.said("What you had written and not sent is back.");
      } else this.drafts.forget();
    } else {
      this.take(server || {});
      if (local) this.ask("A later draft from another window is shown. Your earlier text from this window is kept.", local, "Use my earlier text");
    }
    this.loaded = this.draft();
    if (shown.conflict || (this.edited() && this.can("edit"))) this.setEditing(true, false);
    this.focus();
  }

  // Another window has saved another draft of the same task.
  compareDrafts(before, now) {
    if (!now || JSON.stringify(before) === JSON.stringify(now)) return;
    const { drafts } = this, foreign = now.window && now.window !== drafts.window && now.n > drafts.seen;
    if (!foreign && drafts.n > drafts.saved && this.shown.saved !== drafts.n) return;
    drafts.seen = Math.max(drafts.seen, now.n || 0);
    if (this.same(now, this.draft())) return drafts.flush();
    if (this.same(now, drafts.last)) return;
    if (this.same(this.loaded, this.draft())) {
      this.take(now);
      this.loaded = this.draft();
    } else {
      drafts.paused = true;
      this.ask("Another window saved a different draft of this task. Your text here is kept.", now, "Use the other one");
    }
  }

  same(one, other) {
    const plain = (d) => JSON.stringify([d?.text ?? this.base ?? null, (d?.note || "").trim()]);
    return plain(one) === plain(other);
  }

  take(draft) {
    const { el } = this;
    el.note.value = draft.note || "";
    this.reasons = new Set(Array.isArray(draft.reasons) ? draft.reasons : []);
    this.verdict = ["reject", "flag"].includes(draft.verdict) ? draft.verdict : null;
    el.text.value = draft.text ?? this.base ?? "";
    this.plainBase = this.base === null ? null : normal(this.base);
    this.drawVerdict();
    this.compare(true);
  }

  ask(text, draft, offer) {
    this.theirs = draft;
    const { conflict } = this.el;
    conflict.replaceChildren(
      make("p", {}, text),
      make("div", { class: "choices" },
        make("button", { onclick: () => {
          const mine = this.draft();
          this.drafts.paused = false;
          this.take(draft);
          this.drafts.write(this.draft());
          this.ask("The other text is shown; yours is kept.", mine, "Back to mine");
        } }, offer),
        make("button", { class: "quiet", onclick: () => { conflict.hidden = true; this.drafts.paused = false; this.drafts.write(this.draft()); this.focus(); } }, "Keep what is here")),
      details("The other text", draft.text ?? "(no changes to the text)"),
    );
    conflict.hidden = false;
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

  drawAround(fresh) {
    const { shown, el } = this;
    el.title.textContent = shown.task ? shown.title || "" : "";
    el.position.textContent = shown.position || "";
    el.warn.textContent = shown.warn || "";
    if (shown.message || fresh) this.said(shown.message || "");
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

  kind() { return this.shown.a && this.shown.b ? "pair" : "attempt"; }

  can(what) { return Boolean(this.shown.task) && this.shown.can?.[what] !== false && (this.shown.can ? Boolean(this.shown.can[what]) : true); }

  capOf(action) { return (this.shown.keys || []).find((k) => k.action === action)?.key; }

  // ---- buttons, reasons, places -------------------------------------------------------------------------------

  drawActions() {
    const edited = this.edited();
    const list = this.kind() === "pair"
      ? [["left", "Left"], ["tie", "Tie"], ["right", "Right"]].filter(() => this.can("prefer"))
      : [["approve", edited ? "Save edit" : "Approve", edited ? "edit" : "approve"], ["edit", this.editing ? "Close editor" : "Edit", "edit"], ["reject", "Reject"]]
        .filter(([action, , needs]) => this.can(needs || action));
    if (this.can("flag")) list.push(["flag", "Flag"]);
    if (this.can("skip")) list.push(["skip", "Skip"]);
    if (this.shown.can?.undo !== false) list.push(["undo", "Undo"]);
    if (!this.shown.task || this.shown.can?.next) list.push(["next", "Next"]);
    const state = JSON.stringify([list, this.verdict, Boolean(this.busy)]);
    if (state === this.actionsState) return;
    this.actionsState = state;
    this.el.actions.replaceChildren(...list.map(([action, text]) =>
      make("button", {
        class: action, "data-do": action, "aria-pressed": ["reject", "flag"].includes(action) ? String(this.verdict === action) : undefined,
        "aria-keyshortcuts": this.capOf(action), onclick: () => this.perform(action),
      }, text, this.capOf(action) ? keyCap(this.capOf(action)) : "")));
    if (this.verdict) this.el.actions.append(make("button", { class: "send", "data-do": "confirm", onclick: () => this.perform("confirm") }, `Send ${this.verdict}`, keyCap("Enter")));
    this.root.classList.toggle("busy", Boolean(this.busy));
  }

  drawReasons() {
    const open = Boolean(this.verdict) && (this.shown.reasons || []).length > 0;
    this.el.reasons.hidden = !open;
    this.el.reasons.replaceChildren(...(open ? this.shown.reasons : []).map((r, i) =>
      make("button", { "aria-pressed": String(this.reasons.has(r.code)), onclick: () => this.toggleReason(i) }, r.key ? keyCap(r.key) : "", visible(r.label || r.code))));
  }

  drawVerdict() { this.drawReasons(); this.drawActions(); }

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

  drawJumps() {
    const { el } = this;
    this.found = { wait: [], mark: [], box: [] };
    for (const { rows } of this.columns) for (const node of rows.querySelectorAll("[data-at]")) this.found[node.dataset.at]?.push(node);
    const answers = this.columns.some((c) => c.reply.answer_block !== null && c.reply.answer_block !== undefined);
    const chip = (action, text, there) => there ? make("button", { class: "chip", "data-do": action, onclick: () => this.perform(action) }, text, keyCap(this.capOf(action) || "")) : null;
    const legend = new Map();
    for (const { reply } of this.columns) for (const g of reply.legend || []) legend.set(g.what, { ...g, n: g.n + (legend.get(g.what)?.n || 0) });
    const size = this.columns.map((c) => c.reply.text.length).reduce((a, b) => a + b, 0);
    el.jumps.replaceChildren(...[
      chip("answer", "Answer", answers), chip("box", "Box", this.found.box.length),
      chip("wait", `Waits ${this.found.wait.length}`, this.found.wait.length), chip("mark", `Marks ${this.found.mark.length}`, this.found.mark.length),
      this.columns.length ? chip("fold_all", "Fold all", true) : null,
      ...[...legend.values()].map((g) => make("span", { class: "legend" }, make("mark", { class: `m${+g.colour}` }, visible(g.what)), ` ${g.n}`)),
      make("span", { class: "space" }),
      this.columns.length ? make("span", { class: "none" }, `${size.toLocaleString("en")} characters`) : null,
    ].filter(Boolean));
  }

  said(text) {
    if (this.el.message.textContent !== text) this.el.message.textContent = text;
    this.saidAt = Date.now();
  }

  // ---- keys ---------------------------------------------------------------------------------------------------

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
      case "problem": el.problem.classList.toggle("large"); return;
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

  // ---- deciding -----------------------------------------------------------------------------------------------

  setVerdict(verdict) {
    if (!this.can(verdict)) return this.said(`You cannot ${verdict} here.`);
    this.verdict = verdict;
    this.drawVerdict();
    this.written();
    if (verdict === "flag") this.el.note.focus();
    this.said(verdict === "flag" ? "Say in the note what the lead should know, then Ctrl+Enter." : "Choose reasons by digit, then Enter.");
  }

  toggleReason(i) {
    const reason = (this.shown.reasons || [])[i];
    if (!reason) return;
    if (!this.verdict) {
      if (!this.can("reject")) return;
      this.verdict = "reject";
    }
    if (!this.reasons.delete(reason.code)) this.reasons.add(reason.code);
    this.drawVerdict();
    this.written();
  }

  sendChosen() {
    if (this.verdict === "reject" && (this.shown.reasons || []).length && !this.reasons.size) return this.said("Choose at least one reason: a digit.");
    if (this.verdict) return this.act(this.verdict);
    if (this.kind() === "pair") return this.said("Choose a side first: left, right or tie.");
    return this.act(this.edited() ? "edit" : "approve");
  }

  act(what) {
    const needs = { left: "prefer", right: "prefer", tie: "prefer", undo: null, next: null, renew: null, discard_draft: null };
    const need = what in needs ? needs[what] : what;
    if (this.busy) return this.said("Still sending the last one…");
    if (need && !this.can(need)) return this.said(`You cannot ${what.replace("_", " ")} here.`);
    const draft = this.draft();
    const renews = what === "renew";
    const nonce = renews || !this.nonce ? crypto.randomUUID?.() || randomId() : this.nonce;
    const payload = { task: this.shown.task || "", nonce, do: what, ...draft, seconds: Math.round(this.seconds * 10) / 10 };
    delete payload.verdict;
    if (!renews) {
      // What is on its way is no draft any more, but this browser keeps it until the server has answered.
      this.drafts.stop();
      if (this.drafts.n > this.drafts.saved) this.drafts.keep();
      this.busy = { nonce, do: what, at: performance.now() };
      this.drawActions();
    }
    this.component.setTriggerValue("act", payload);
  }

  answered(task) {
    const { busy } = this;
    this.busy = this.nonce = null;
    if (["approve", "reject", "edit", "flag", "skip", "left", "right", "tie", "discard_draft"].includes(busy.do)) {
      const refused = this.shown.task === task && busy.do !== "discard_draft";
      if (!refused) this.drafts.forget(task);
      if (busy.do === "discard_draft" && this.shown.task === task) {
        this.drafts.open(task);
        this.take({});
        this.loaded = this.draft();
        this.el.conflict.hidden = true;
        this.setEditing(false);
        this.said("Your changes are discarded.");
      }
    }
    this.drawActions();
  }

  discard() {
    if (this.discarding && Date.now() - this.discarding < 5000) { this.discarding = 0; return this.act("discard_draft"); }
    this.discarding = Date.now();
    return this.said("Press the same keys again to discard your changes, text and note.");
  }

  // ---- writing ------------------------------------------------------------------------------------------------

  text() { return original(this.el.text.value, this.base); }

  edited() { return this.base !== null && this.base !== undefined && this.el.text.value !== this.plainBase; }

  draft() {
    return { text: this.edited() ? this.text() : null, note: this.el.note.value, reasons: [...this.reasons], verdict: this.verdict };
  }

  typed() {
    this.written();
    clearTimeout(this.comparing);
    this.comparing = setTimeout(() => this.compare(), 120);
    this.drawActions();
  }

  written() {
    if (!this.shown.task) return;
    this.drafts.write(this.draft());
    const { note } = this.el;
    note.style.height = "auto";
    note.style.height = `${Math.min(note.scrollHeight + 2, 120)}px`;
  }

  compare(even = false) {
    const { el } = this;
    if (!this.editing && !even) return;
    const text = el.text.value, edited = this.edited();
    el.count.textContent = `${countCharacters(text).toLocaleString("en")} characters`;
    if (!this.editing) return;
    const found = edited ? changes(this.plainBase, text) : [];
    const size = (kind) => found.filter((c) => c.kind === kind).reduce((n, c) => n + countCharacters(c.text), 0);
    el.sizes.replaceChildren(make("ins", {}, `+${size("+").toLocaleString("en")}`), " ", make("del", {}, `−${size("-").toLocaleString("en")}`), " characters");
    drawChanges(el.changes, found);
  }

  setEditing(on, focus = true) {
    if (!this.shown.reply || (on && !this.can("edit"))) return;
    const { el } = this, changed = this.editing !== on;
    const row = changed && on ? (this.here ? this.rowOf(this.here) : this.rows()[this.firstSeen(this.rows())]) : null;
    this.editing = on;
    this.root.classList.toggle("editing", on);
    if (changed) el.body.replaceChildren(on ? el.editor : this.page);
    if (on) {
      this.compare();
      if (row) this.caretTo(row);
      if (focus) el.text.focus({ preventScroll: true });
    } else this.focus();
    this.drawActions();
  }

  // The caret goes to where the paragraph begins that was being read.
  caretTo(row) {
    const { reply } = this.columns[0];
    if (!row || this.edited() || !reply.starts || reply.text.length > 300_000) return;
    this.place(normal(reply.text.slice(0, utf16(reply.text, reply.starts[+row.dataset.i] || 0))).length);
  }

  place(at) {
    const area = this.el.text, whole = area.value;
    area.value = whole.slice(0, at);
    const top = area.scrollHeight;
    area.value = whole;
    area.setSelectionRange(at, at);
    area.scrollTop = Math.max(0, top - area.clientHeight / 2);
  }

  // ---- reading ------------------------------------------------------------------------------------------------

  nextView() {
    const views = this.kind() === "pair" ? ["exact", "rendered"] : VIEWS;
    return views[(views.indexOf(this.view) + 1) % views.length];
  }

  setView(view) {
    this.view = view;
    remember("view", view);
    const used = this.kind() === "pair" && view === "side" ? "exact" : view;
    for (const v of VIEWS) this.root.classList.toggle(`view-${v}`, v === used);
    for (const b of this.el.views.children) b.setAttribute("aria-pressed", String(b.dataset.view === used));
    this.el.views.children[0].hidden = this.kind() === "pair";
  }

  choose(i) {
    this.column = i;
    this.columns.forEach((c, j) => c.box.classList.toggle("chosen", i === j));
    this.here = null;
  }

  rows() { return [...(this.columns[this.column && this.columns.length > 1 ? this.column : 0]?.rows.children || [])]; }

  rowOf(node) { return node.closest(".row"); }

  step(by) {
    const rows = this.rows(), at = this.here ? rows.indexOf(this.rowOf(this.here)) : this.firstSeen(rows) - (by > 0 ? 1 : 0);
    const row = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
    if (row && !this.editing) this.goTo(row, "start");
  }

  firstSeen(rows) {
    const top = this.el.body.getBoundingClientRect().top;
    return Math.max(0, rows.findIndex((r) => r.getBoundingClientRect().bottom > top + 4));
  }

  goTo(node, block = "center") {
    if (this.editing) this.setEditing(false);
    const row = this.rowOf(node);
    if (row !== node && row.classList.contains("folded")) this.foldRow(row, false);
    this.here = node;
    for (const old of this.root.querySelectorAll(".row.here, .at.hit, mark.hit")) old.classList.remove("here", "hit");
    row.classList.add("here");
    if (row !== node) node.classList.add("hit");
    const to = row !== node && node.offsetParent !== null ? node : row;
    to.scrollIntoView({ block: to === row && row !== node ? "start" : block, inline: "nearest" });
  }

  go(kind, by) {
    const mine = this.found[kind].filter((n) => this.columns.length < 2 || this.columns[this.column].rows.contains(n));
    if (!mine.length) return this.said({ wait: "No reflective word here.", mark: "No mark here.", box: "No box here." }[kind]);
    const after = (n) => this.here && this.here.compareDocumentPosition(n) & Node.DOCUMENT_POSITION_FOLLOWING && n !== this.here;
    const before = (n) => this.here && this.here.compareDocumentPosition(n) & Node.DOCUMENT_POSITION_PRECEDING;
    const next = !this.here ? (by > 0 ? mine[0] : mine.at(-1)) : by > 0 ? mine.find(after) : mine.findLast(before);
    this.goTo(next || (by > 0 ? mine[0] : mine.at(-1)));
    const i = mine.indexOf(this.here) + 1;
    this.said(mine.length > 1 ? `${i} of ${mine.length}${next ? "" : by > 0 ? ", from the beginning again" : ", from the end again"}` : "");
  }

  goAnswer() {
    const { reply, rows } = this.columns[this.columns.length > 1 ? this.column : 0] || {};
    if (!reply || reply.answer_block === null || reply.answer_block === undefined) return this.said("No </think> here: no answer apart from the reasoning.");
    this.goTo(rows.children[reply.answer_block], "start");
  }

  foldRow(row, folded = !row.classList.contains("folded")) {
    row.classList.toggle("folded", folded);
    row.querySelector(".fold")?.setAttribute("aria-expanded", String(!folded));
  }

  foldAll() {
    const rows = this.columns.flatMap((c) => [...c.rows.children]);
    const folded = !rows.every((r) => r.classList.contains("folded"));
    for (const row of rows) this.foldRow(row, folded);
    remember("folded", folded ? "yes" : "no");
    const here = this.here && this.rowOf(this.here);
    if (here) here.scrollIntoView({ block: "nearest" });
  }

  clicked(event) {
    const row = event.target.closest?.(".row");
    if (!row) return;
    if (this.columns.length > 1) this.choose(this.columns.findIndex((c) => c.rows.contains(row)));
    if (event.target.closest(".fold") || row.classList.contains("folded")) this.foldRow(row);
    this.here = row;
  }

  // ---- time ---------------------------------------------------------------------------------------------------

  tick() {
    const now = Date.now(), at = Math.min((now - this.beat) / 1000, 5), working = !document.hidden && now - this.active < IDLE;
    this.beat = now;
    if (this.el.message.textContent && now - this.saidAt > 10_000) this.said("");
    if (working && this.shown.task) this.seconds += at;
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

function details(summary, text) {
  return make("details", {}, make("summary", {}, summary), make("pre", {}, visible(text)));
}

function notes(reply, tag = "span") {
  return (reply.notes || []).map((n) => make(tag, { class: "limit" }, n));
}

// A text field knows line feeds only. Where a text has \r\n throughout, it gets them back.
function normal(text) { return text.replace(/\r\n?/g, "\n"); }

function original(text, base) {
  const all = base && base.includes("\r\n") && !/\r(?!\n)|(?<!\r)\n/.test(base);
  return all ? text.replace(/\n/g, "\r\n") : text;
}

function timeOf(at) {
  if (typeof at === "number") return at < 1e11 ? at * 1000 : at;
  return at ? Date.parse(at) || 0 : 0;
}

function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
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
