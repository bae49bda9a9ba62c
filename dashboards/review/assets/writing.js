// The editor and the note, their drafts, and what to do when two windows hold two drafts.

class Writing extends Reading {
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
}

function details(summary, text) {
  return make("details", {}, make("summary", {}, summary), make("pre", {}, visible(text)));
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
